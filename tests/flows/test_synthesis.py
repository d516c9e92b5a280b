"""`reground synthesize`: rows from documents, brought up to date when these change, and what people did stays."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.config import TINY, load
from tasks.compose import RecipeConfig, RecipeSettings
from tests.tasks.judges.chat_server import KEY, ChatServer

SHEET = "Data sheet {name}. The oil volume is {volume} litres. Motor power: {power} kW. The paint colour is {colour}."
REFUSAL = "Not stated in the sheet."


@pytest.fixture
def place(tmp_path):
    """A folder with twenty sheets and a guide of several passages."""
    (tmp_path / "docs").mkdir()
    rows = [
        {
            "id": f"P-{n}",
            "title": f"Data sheet P-{n}",
            "text": SHEET.format(name=f"P-{n}", volume=n, power=300 + n, colour=c),
        }
        for n, c in zip(range(100, 120), ["red", "blue", "green", "grey"] * 5, strict=True)
    ]
    write(tmp_path / "docs/sheets.jsonl", rows)
    parts = [
        f"## Valve {n}\n\nThe V{n} valve is a valve with {n} seats. The V{n} valve controls line {n}."
        for n in range(3, 12)
    ]
    (tmp_path / "docs/guide.md").write_text("# Valves\n\n" + "\n\n".join(parts))
    return tmp_path


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]


def run(place: Path, *settings: str) -> str:
    words = [f"store={place / 'store'}", f"validate.refusal={REFUSAL}", *settings]
    command = ["synthesize", str(place / "docs"), "-o", str(place / "out.jsonl")]
    done = CliRunner().invoke(app, [*command, *(word for each in words for word in ("-s", each))])
    assert done.exit_code == 0, done.output or done.exception
    return done.output


def by_document(place: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows(place):
        found.setdefault(row["document"], []).append(row)
    return found


def test_rows_are_grounded_and_name_their_source_and_refuse_where_the_answer_is_not(place):
    run(place)
    found = rows(place)
    assert len(found) == 20 * 3 + 9 * 2
    for row in found:
        if row["gold"]:
            (at,) = row["gold"]
            start, end = row["span"]
            assert row["answer"].rstrip(".") in row["context"][at][start:end] and row["writer"] == "offline"
        else:
            assert row["answer"] == REFUSAL and row["kind"] in ("contrast", "missed") and "value" not in row
    refusing = [row for row in found if not row["gold"]]
    assert 0.1 < len(refusing) / len(found) < 0.4
    wanted = {f"{row['document']} {row['query']}": row for row in found}
    assert len(wanted) == len(found)
    for row in refusing:
        if row["document"].startswith("P-"):
            values = {str(int(row["document"][2:])), str(300 + int(row["document"][2:]))}
            stated = "oil" in row["query"] and f"{row['document'][2:]} litres"
            assert not stated or not any(stated in each for each in row["context"]), (row, values)


def test_run_again_nothing_runs_and_the_file_is_not_touched(place):
    run(place)
    before = (place / "out.jsonl").stat().st_mtime_ns
    said = run(place)
    assert said.count("Cached") == 4 and "is up to date" in said
    assert (place / "out.jsonl").stat().st_mtime_ns == before


def test_a_changed_document_changes_its_own_rows_alone(place):
    run(place)
    before = by_document(place)
    sheets = place / "docs/sheets.jsonl"
    sheets.write_text(sheets.read_text().replace("The oil volume is 105 litres", "The oil volume is 999 litres"))
    run(place)
    now = by_document(place)
    assert {name for name in now if now[name] != before[name]} == {"P-105"}
    assert any(row["answer"] == "999 litres" for row in now["P-105"]) or any(
        "999 litres" in passage for row in now["P-105"] for passage in row["context"]
    )
    shutil.move(place / "docs/guide.md", place / "guide.md")
    said = run(place)
    assert by_document(place) == {name: each for name, each in now.items() if name != "guide.md"}
    assert "18 gone with their source" in said


def test_what_a_person_edited_added_or_deleted_stays_and_is_named_when_its_passage_changes(place):
    run(place)
    edited, deleted, *_ = by_document(place)["P-100"]
    others = [row for row in rows(place) if row not in (edited, deleted)]
    edited["answer"] = "About 100 litres."
    own = {"id": "mine", "query": "Who knows?", "context": ["Nobody knows."], "answer": "Nobody."}
    write(place / "out.jsonl", [edited, *others, own])
    assert "2 edited, 1 deleted" in run(place)
    assert edited in rows(place) and own in rows(place) and deleted not in rows(place)
    sheets = place / "docs/sheets.jsonl"
    sheets.write_text(sheets.read_text().replace("The paint colour is red", "The paint colour is pink"))
    said = run(place)
    assert edited in rows(place) and own in rows(place)
    assert f"look again: {edited['id']}" in said.replace("\n", " ")
    assert deleted["query"] in {row["query"] for row in rows(place)}  # its passage is another one now


def test_rows_are_not_written_among_the_documents(place):
    done = CliRunner().invoke(app, ["synthesize", str(place / "docs"), "-o", str(place / "docs/rows.jsonl")])
    assert "is among the documents" in str(done.exception)


def test_a_file_that_is_no_jsonl_is_left_alone(place):
    (place / "out.jsonl").write_text("notes of mine\n")
    done = CliRunner().invoke(
        app, ["synthesize", str(place / "docs"), "-o", str(place / "out.jsonl"), "-s", f"store={place}/s"]
    )
    assert "out.jsonl:1 is no JSON object" in str(done.exception)
    assert (place / "out.jsonl").read_text() == "notes of mine\n"


def test_numbered_passages_are_cited_and_raft_always_has_four_others(place):
    run(place, "synthesize.recipe.citations=numbered", "synthesize.recipe.preset=raft")
    for row in rows(place):
        assert [passage[:4] for passage in row["context"]] == [f"[{n}] " for n in range(1, len(row["context"]) + 1)]
        assert row["answer"] == REFUSAL or row["answer"].endswith(f"[{row['gold'][0] + 1}]")
        assert len(row["context"]) == (5 if row["gold"] or row["kind"] == "contrast" else 4)


def test_a_teacher_is_asked_within_its_budget_and_its_cost_is_told_before(place, monkeypatch):
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    (place / "docs/sheets.jsonl").unlink()

    def says(messages):
        data = json.loads(messages[1]["content"])
        number = data["passage"].split("with ")[1].split()[0]
        if "question" in data:
            return json.dumps({"stated": True, "answer": f"{number} seats"})
        pair = {"kind": "answerable", "question": f"How many seats has V{number}?", "answer": f"{number} seats"}
        quote = next(each for each in data["passage"].split("\n") if "seats" in each)
        return json.dumps({"pairs": [pair | {"quote": quote}]})

    with ChatServer(says=says) as server:
        endpoint = f"{{url: {server.url}, key_variable: TEACHER_API_KEY}}"
        teacher = ["model=stand-in", f"endpoint={endpoint}", "count={answerable: 1, partly: 0, unanswerable: 0}"]
        said = run(place, *(f"synthesize.teacher.{each}" for each in teacher))
        assert "at most 18 requests" in said.replace("\n", " ") and len(server.requests) == 18
        assert {row["writer"] for row in rows(place)} == {"stand-in"} and len(rows(place)) == 9
        run(place, *(f"synthesize.teacher.{each}" for each in teacher))
        assert len(server.requests) == 18


def test_a_preset_gives_way_to_what_is_set():
    assert RecipeSettings(preset="raft", alone=0.5) == RecipeSettings(
        preset="raft", alone=0.5, unanswerable=0.2, distractors=(4, 4)
    )
    assert RecipeConfig(refusal="No.").distractors == (1, 3)
    assert load(TINY, ["synthesize.recipe.preset=raft"]).synthesize.recipe.distractors == (4, 4)
