"""A teacher over real HTTP: what it writes, what is checked, and a server that fails in every way."""

import json
from pathlib import Path

import pytest

from tasks.draft import DraftConfig, draft
from tasks.engine.errors import UserError
from tasks.synthesis.drafts import read_drafts
from tests.tasks.judges.chat_server import KEY, ChatServer, completion, error

SENTENCES = [f"The valve V-{number} opens at {number + 3} bar." for number in range(12)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEACHER_API_KEY", KEY)


@pytest.fixture
def chunks(tmp_path):
    """Twelve passages of a sentence each."""
    folder = tmp_path / "chunks"
    folder.mkdir()
    lines = [
        {"document": "valves.md", "title": "Valves", "number": number, "path": ["Valves"], "text": text}
        for number, text in enumerate(SENTENCES)
    ]
    (folder / "00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def says(messages, **wrong):
    """Writes of a passage a question and one without an answer; answers as the passage has it."""
    data = json.loads(messages[1]["content"])
    name = data["passage"].split("valve ")[1].split()[0]
    value = data["passage"].split(" at ")[1].rstrip(".")
    if "question" in data:
        stated = "open" in data["question"]
        return json.dumps({"stated": stated, "answer": wrong.get("again", value) if stated else ""})
    quote = wrong.get("quote", data["passage"].split("\n\n")[1])
    return json.dumps(
        {
            "pairs": [
                {"kind": "answerable", "question": f"When does {name} open?", "answer": value, "quote": quote},
                {"kind": "unanswerable", "question": f"Who made {name}?", "answer": wrong.get("none", ""), "quote": ""},
            ]
        }
    )


def drafted(chunks: Path, server, tmp_path, *, name="out", earlier=(), **teacher):
    """The drafts, and the report."""
    endpoint = {"url": server.url, "key_variable": "TEACHER_API_KEY", "timeout": 1, "retries": 3}
    config = DraftConfig.model_validate({"teacher": {"model": "stand-in", "endpoint": endpoint, **teacher}})
    out, work = tmp_path / name, tmp_path / "work" / "key"
    out.mkdir(exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    draft(config, chunks=chunks, out=out, work=work, earlier=earlier)
    return list(read_drafts(out / "drafts")), json.loads((out / "report.json").read_text())


def test_each_passage_has_its_questions_and_each_answer_its_quote(chunks, tmp_path):
    with ChatServer(says=says) as server:
        found, report = drafted(chunks, server, tmp_path)
    assert [each.number for each in found] == sorted([*range(12)] * 2)
    assert [(each.answer, each.line) for each in found[:2]] == [("3 bar", SENTENCES[0]), (None, "")]
    assert {each.writer for each in found} == {"stand-in"} and {each.language for each in found} == {"en"}
    assert report["kinds"] == {"answerable": 12, "unanswerable": 12} and report["cost"]["requests"] == 36


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"quote": "A sentence that is nowhere."}, "quote is not in the passage"),
        ({"again": "77 bar"}, "answered otherwise the second time"),
        ({"none": "Somebody."}, "answered though it is none"),
    ],
)
def test_what_the_passage_does_not_bear_out_is_left_out_and_counted(chunks, tmp_path, wrong, why):
    with ChatServer(says=lambda messages: says(messages, **wrong)) as server:
        found, report = drafted(chunks, server, tmp_path)
    assert len(found) == 12 and report["left_out"] == {why: 12}


def test_a_server_that_fails_in_every_way_loses_no_row_and_gets_none_twice(chunks, tmp_path):
    failing = {
        1: (429, {"Retry-After": "0"}, error("slow")),
        4: (500, {}, error("oops")),
        7: (200, {}, b'{"choices": ['),
    }
    failing |= {11: (200, {}, completion('{"pairs": [{"kind"')), 15: (200, {}, completion("I cannot do that."))}

    def fault(number):
        if number == 19:
            server.slow = 2.0  # longer than the client waits
        elif number == 21:
            server.slow = 0.0
        return failing.get(number)

    with ChatServer(fault, says=says) as server:
        found, report = drafted(chunks, server, tmp_path, attempts=4)
        if report.get("left_out"):  # a body that is no JSON is not tried again by the client, but in another round
            found, report = drafted(chunks, server, tmp_path, name="again", attempts=4, round=1)
    assert sorted(each.number for each in found) == sorted([*range(12)] * 2)
    assert len({each.id for each in found}) == 24


def test_a_killed_run_goes_on_and_a_later_one_asks_only_about_what_is_new(chunks, tmp_path):
    refused = {9: (401, {}, error("expired"))}
    with ChatServer(refused.get, says=says) as server:
        with pytest.raises(UserError, match=r"synthesize\.teacher\.endpoint\.key_variable"):
            drafted(
                chunks,
                server,
                tmp_path,
                endpoint={"url": server.url, "key_variable": "TEACHER_API_KEY", "concurrency": 1},
            )
        before = len(server.requests)
        found, report = drafted(chunks, server, tmp_path, name="second")
        assert len(found) == 24 and before + report["cost"]["requests"] == 36 + 1
        text = (chunks / "00000.jsonl").read_text()
        (chunks / "00000.jsonl").write_text(text.replace("V-11 opens at 14", "V-11 opens at 15"))
        for path in (tmp_path / "work").rglob("*.jsonl"):
            path.unlink()  # what was under way is gone with the work folder; the artifact has it
        _, report = drafted(chunks, server, tmp_path, name="third", earlier=[tmp_path / "second"])
        assert report["cost"]["requests"] == 3 and report["cost"]["replies_taken_over"] == 33


def test_the_budget_is_kept_and_what_is_missing_comes_in_another_round(chunks, tmp_path):
    with ChatServer(says=says) as server:
        found, report = drafted(chunks, server, tmp_path, budget={"requests": 10})
        assert len(server.requests) == 10 and 0 < len(found) < 24 and report["left_out"]["budget"] > 0
        found, _ = drafted(chunks, server, tmp_path, name="more", round=1)
        assert len(found) == 24 and len(server.requests) == 36


def test_a_server_that_is_away_is_an_error_with_a_remedy(chunks, tmp_path):
    down = {"key_variable": None, "retries": 0}
    with ChatServer(lambda number: (503, {}, error("down")), key=None) as server, pytest.raises(UserError) as failed:
        drafted(chunks, server, tmp_path, endpoint={"url": server.url, **down})
    assert "wrote of none of 12 passages" in failed.value.what
