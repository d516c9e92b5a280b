"""The step as a whole: files in, clean rows, quarantine and report out."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from tasks.data.examine import RowConfig, examine, verdicts
from tasks.data.rules import Rules
from tasks.data.shards import Rows, cut
from tasks.data.triplets import BATCH_ROWS, read_triplets
from tasks.engine.code.reach import code_of
from tasks.engine.errors import UserError
from tasks.engine.key import installed
from tasks.engine.record import Change, Origin, Shards
from tasks.validate import ValidateConfig, validate

CONTEXT = "The feed pump P-101 runs at 1,450 rpm. Its casing is made of cast iron and its seal of nitrile rubber."


def good(number: int, **fields: Any) -> dict[str, Any]:
    context = f"Sheet {number}. {CONTEXT}"
    return {"query": "What is the casing made of?", "context": context, "answer": "It is made of cast iron."} | fields


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def run(tmp_path: Path, files: list[Path], **config: Any) -> Path:
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    out.mkdir()
    validate(ValidateConfig(**config), rows=files, out=out)
    return out


def quarantine(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]


def report(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "report.json").read_text())
    return summary


def test_clean_rows_keep_their_order_and_open_as_a_dataset(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [good(n, id=f"row-{n}", document="sheet") for n in range(BATCH_ROWS + 7)])
    second = tmp_path / "b.jsonl.gz"
    second.write_bytes(gzip.compress(json.dumps(good(5_000, gold=[0], value="cast iron")).encode()))
    out = run(tmp_path, [first, second])
    files = [datasets.Dataset.from_file(str(path)) for path in sorted((out / "rows").glob("*.arrow"))]
    dataset = datasets.concatenate_datasets(files)
    assert dataset["id"][: BATCH_ROWS + 7] == [f"row-{n}" for n in range(BATCH_ROWS + 7)]
    last = list(read_triplets(out / "rows"))[-1]
    assert last.context == (f"Sheet 5000. {CONTEXT}",)
    assert (last.gold, last.value, last.refusal) == ((0,), "cast iron", False)
    assert dataset[-1] == last._asdict() | {"context": list(last.context), "gold": [0], "history": []}


def test_the_same_rows_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    rows = [good(1), good(1), good(2, answer=""), good(3, answer="It is bronze."), b"{", good(4)]
    outs = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        outs.append(run(tmp_path, [write(tmp_path / folder / "rows.jsonl", rows)], max_reject_share=0.5))
    names = sorted(path.relative_to(outs[0]).as_posix() for path in outs[0].rglob("*") if path.is_file())
    assert names == [
        "parts.json",
        "quarantine.jsonl",
        "rejected/00000.jsonl",
        "repeated/00000.jsonl",
        "report.json",
        "report.md",
        "rows/00000.arrow",
        "rows/left_out.json",
        "sketches/00000",
        f"source/{next(cut([tmp_path / 'here/rows.jsonl'])).digest}",
    ]
    for name in names:
        data = (outs[0] / name).read_bytes()
        assert data == (outs[1] / name).read_bytes()
        assert str(tmp_path).encode() not in data


def test_a_row_put_in_front_changes_no_other_row(tmp_path: Path) -> None:
    rows = [good(n) for n in range(5)]
    before = run(tmp_path, [write(tmp_path / "rows.jsonl", rows)])
    after = run(tmp_path, [write(tmp_path / "rows.jsonl", [good(99), *rows])])
    assert list(read_triplets(after / "rows"))[1:] == list(read_triplets(before / "rows"))


def test_a_changed_source_says_how_many_rows_and_shards(tmp_path: Path) -> None:
    rows = [good(n) for n in range(12_000)]
    source = write(tmp_path / "rows.jsonl", rows)
    before = run(tmp_path, [source])
    shards = len(list(cut([source])))
    assert shards > 3

    def change(now: list[Any]) -> Change:
        return Rows((write(tmp_path / "new.jsonl", now),)).change("rows", Origin(digest=""), before)

    edited = change([*rows[:2], *rows[3:], good(-1), good(-2)])
    assert edited.shards == Shards(changed=2, removed=0, total=shards)
    assert (edited.rows_added, edited.rows_removed) == (2, 1)
    assert change(rows[::-1]).reordered
    assert change(rows).share == 0
    assert 0 < change([good(-1), *rows]).share <= 2 / shards
    unknown = Rows((source,)).change("rows", Origin(digest=""), tmp_path)  # an artifact without checksums
    assert unknown.rows_added is None and unknown.share == 1


def test_an_edit_costs_the_shard_around_it_and_the_outcome_is_that_of_a_cold_run(tmp_path: Path) -> None:
    rows = [good(n) for n in range(12_000)]
    first = run(tmp_path, [write(tmp_path / "rows.jsonl", rows)])
    record(first)
    # A repeat far off, a row that is rejected, a new one in front.
    edited = [good(-1), *rows[:6_000], good(7), good(6_000, answer="It is made of 17 bricks."), *rows[6_001:]]
    source = [write(tmp_path / "rows.jsonl", edited)]
    seen: list[int] = []

    def counted(function: Any, calls: Any, *, name: str) -> Any:
        for call in calls:
            seen.append(len(call[0]))
            yield function(*call)

    incremental, cold = tmp_path / "incremental", run(tmp_path, source)
    incremental.mkdir()
    validate(ValidateConfig(), rows=source, out=incremental, earlier=[first], mapper=counted)
    assert 0 < sum(seen) < 8_500
    assert files(incremental) == files(cold)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(artifact: Path) -> None:
    """Put beside a step's output what makes it an artifact that a later run may take parts from."""
    payload = {
        "code": code_of("tasks.validate", "validate"),
        "libraries": installed(validate.libraries),
    }
    (artifact / "record.json").write_text(json.dumps({"payload": payload}))


def test_every_row_left_out_is_in_the_quarantine_with_its_reason(tmp_path: Path) -> None:
    kept = [good(n) for n in range(20)]
    latin = '{"query": "Où?", "context": "Là.", "answer": "Là."}'.encode("latin-1")
    left_out: list[Any] = [
        latin,
        b'{"query": "cut off',
        {"question": "q"},
        good(100, query="What </s> is it?"),
        good(101, answer="It is made of 17 parts of cast iron."),
        good(3),
        good(4, answer="Its seal is made of nitrile rubber."),
    ]
    out = run(tmp_path, [write(tmp_path / "rows.jsonl", kept + left_out)], max_reject_share=0.5)
    entries = quarantine(out)
    assert [(entry["line"], entry["rule"]) for entry in entries] == [
        (21, "malformed"),
        (22, "malformed"),
        (23, "malformed"),
        (24, "control_tokens"),
        (25, "absent_number"),
        (26, "duplicate"),
        (27, "conflict"),
    ]
    assert {entry["file"] for entry in entries} == {"rows.jsonl"}
    assert all(entry["remedy"] for entry in entries)
    values = [entry["value"] for entry in entries]
    assert values[0].startswith("not UTF-8: byte 0xf9 at 12") and values[1].startswith("not JSON: ")
    assert values[2].startswith("no form has the fields question")
    assert values[3:] == ["</s>", "17", "as rows.jsonl:4", "against rows.jsonl:5"]
    assert entries[0]["row"].encode(entries[0]["encoding"]) == latin
    assert entries[1]["row"] == '{"query": "cut off'
    texts = [json.loads(entry["row"]) for entry in entries[2:]]
    assert texts[:3] == left_out[2:5]
    assert [text["answer"] for text in texts[3:]] == [row["answer"] for row in left_out[5:]]
    assert report(out)["rows"] == {"read": 27, "clean": 20, "rejected": 6, "duplicates": 1, "warned": 0}


def test_a_row_with_several_faults_counts_once_and_names_them_all(tmp_path: Path) -> None:
    row = good(1, answer="Seventeen bolts, made by Halvorsen in 1871, hold <pad> the lid of every gearbox.")
    out = run(tmp_path, [write(tmp_path / "rows.jsonl", [row, good(2)])], max_reject_share=0.5)
    [entry] = quarantine(out)
    assert entry["rule"] == "control_tokens"
    others = ["absent_number", "k_precision", "content_coverage", "bigram_coverage", "absent_entity"]
    assert [also["rule"] for also in entry["also"]] == others
    assert {rule: counts["rejected"] for rule, counts in report(out)["rules"].items()} == {"control_tokens": 1}


def test_duplicates_and_conflicts_are_judged_as_the_config_says(tmp_path: Path) -> None:
    rows = [good(1), good(1, query="what is the CASING  made of?"), good(1, answer="Cast iron and its seal")]
    source = [write(tmp_path / "rows.jsonl", rows)]
    kept = [
        len(list(read_triplets(run(tmp_path, source, max_reject_share=1, rules=rules) / "rows")))
        for rules in ({}, {"duplicate": "warn"}, {"conflict": "off"}, {"duplicate": "off", "conflict": "warn"})
    ]
    assert kept == [1, 2, 2, 3]


def test_a_rejected_row_is_no_ground_to_reject_a_good_one(tmp_path: Path) -> None:
    rows = [good(1, answer="It is made of bronze, 17 of it."), good(1)]
    out = run(tmp_path, [write(tmp_path / "rows.jsonl", rows)], max_reject_share=0.5)
    assert [row.answer for row in read_triplets(out / "rows")] == ["It is made of cast iron."]


def test_an_empty_answer_becomes_the_refusal_sentence_or_is_rejected(tmp_path: Path) -> None:
    source = [write(tmp_path / "rows.jsonl", [good(1), good(2, query="What is the price?", answer=" ")])]
    out = run(tmp_path, source, refusal="Not in the sheet.")
    assert [(row.answer, row.refusal) for row in read_triplets(out / "rows")] == [
        ("It is made of cast iron.", False),
        ("Not in the sheet.", True),
    ]
    assert report(out)["rules"]["empty_answer"]["warned"] == 1
    assert report(out)["refusals"] == {"rows": 1, "share": 0.5}
    out = run(tmp_path, source, empty_answer="reject", max_reject_share=0.5)
    assert [entry["rule"] for entry in quarantine(out)] == ["empty_answer"]


def test_too_many_rejects_stop_the_run_and_the_message_carries_the_report(tmp_path: Path) -> None:
    rows = [good(n) for n in range(7)] + [good(n, answer="It is 17 years old, of cast iron.") for n in (8, 9)] + [{}]
    source = [write(tmp_path / "rows.jsonl", rows)]
    with pytest.raises(UserError) as raised:
        run(tmp_path, source)
    message = str(raised.value)
    assert "3 of 10 rows rejected (30.0%), and max_reject_share is 10.0%" in message
    assert message.index("2  absent_number, such as rows.jsonl:8: 17") < message.index("1  malformed")
    assert "quarantine.jsonl" in raised.value.remedy
    assert report(run(tmp_path, source, max_reject_share=0.3))["reject_share"] == 0.3


def test_duplicates_do_not_count_as_rejects(tmp_path: Path) -> None:
    out = run(tmp_path, [write(tmp_path / "rows.jsonl", [good(1)] * 10)], max_reject_share=0)
    assert report(out)["rows"] == {"read": 10, "clean": 1, "rejected": 0, "duplicates": 9, "warned": 0}


@pytest.mark.parametrize(
    ("rows", "message"), [([{"a": 1}, b"[]"], "no usable row\n2 of 2"), ([b"", b"  "], "rows.jsonl: no rows")]
)
def test_no_usable_row_is_an_error(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, [write(tmp_path / "rows.jsonl", rows)], max_reject_share=1)


def test_the_report_is_a_page_with_counts_examples_and_lengths(tmp_path: Path) -> None:
    rows = [good(n, source="x") for n in range(9)] + [good(10, answer="It is made of 17 `bolts` and cast iron.")]
    out = run(tmp_path, [write(tmp_path / "rows.jsonl", rows)])
    page = (out / "report.md").read_text()
    assert "**9 of 10 rows are fit to learn from**: 1 rejected (10.0%)" in page
    assert "Fields that nothing reads: `source` (9 rows)" in page
    assert "| absent_number | 1 | 0 |" in page
    assert "- `rows.jsonl:10` rejected: `17` · `What is the casing made of?`" in page
    assert report(out)["lengths"]["answer"] | {"p25": 24} == dict.fromkeys(report(out)["lengths"]["answer"], 24)


def test_examining_a_row_depends_on_nothing_but_its_bytes() -> None:
    raw = json.dumps(good(1, answer="It is made of 17 parts.")).encode()
    config = RowConfig(Rules(), "Not stated.", "refuse")
    assert examine(raw, config) == examine(raw, config)
    assert [finding.rule for finding in examine(raw, config).findings if finding.level == "reject"]


MEASURE = """
import json, re, sys
from pathlib import Path
from tasks.validate import ValidateConfig, validate
from tasks.engine.code.reach import code_of
from tasks.engine.key import installed

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

for name in sys.argv[1:]:
    out = Path(name + ".out")
    out.mkdir()
    validate(ValidateConfig(), rows=[Path(name)], out=out)
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """8,000 rows, then 32,000 (80 MB): the peak may grow by the sketches, 40 bytes a row, and by noise."""
    filler = "The sheet has many lines that say nothing of use. " * 50
    names = []
    for count in (8_000, 32_000):
        names.append(str(tmp_path / f"{count}.jsonl"))
        with open(names[-1], "w") as file:
            for number in range(count):
                row = {
                    "query": "What is it?",
                    "context": f"It is {number} bar. {filler}",
                    "answer": f"It is {number} bar.",
                }
                file.write(json.dumps(row) + "\n")
    command = [sys.executable, "-c", MEASURE, *names]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    small, large = map(float, run.stdout.split())
    assert large < small + 16  # MiB, of 62 MiB more text


VERDICT_ROWS: list[Any] = [
    good(1, id="sound"),
    good(1, id="again"),
    good(2, id="made up", answer="It is made of 17 parts of cast iron."),
    good(3, id="empty", answer=""),
    good(1, id="other", answer="Its seal is made of nitrile rubber."),
    good(4, id="gold", gold=[7]),
    b"{",
    {"question": "?"},
    good(5, id="sound"),
    good(6, id="mark", answer="N/A"),
    json.dumps(good(7, id="twice")).replace('{"query"', '{"answer": "?", "query"').encode(),
]


def test_the_verdict_on_each_row_is_what_the_step_decides(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", VERDICT_ROWS)
    config = ValidateConfig(max_reject_share=1)
    found = list(verdicts([source], config.by_row))
    assert [(each.id, each.verdict, each.findings[0].rule if each.findings else None) for each in found] == [
        ("sound", "accepted", None),
        ("again", "rejected", "duplicate"),
        ("made up", "rejected", "absent_number"),
        ("empty", "accepted", "empty_answer"),
        ("other", "rejected", "conflict"),
        ("gold", "rejected", "malformed"),
        (None, "rejected", "malformed"),
        (None, "rejected", "malformed"),
        ("sound", "accepted", "repeated_id"),
        ("mark", "accepted", "no_answer"),
        ("twice", "accepted", "repeated_key"),
    ]
    out = run(tmp_path, [source], max_reject_share=1)
    assert {entry["line"] for entry in quarantine(out)} == {
        line for line, each in enumerate(found, 1) if each.verdict == "rejected"
    }
    reasons = [next(f for f in each.findings if f.level == "reject") for each in found if each.verdict == "rejected"]
    assert [(f.rule, f.value, f.remedy) for f in reasons] == [
        (entry["rule"], entry["value"], entry["remedy"]) for entry in quarantine(out)
    ]


def test_the_schema_of_a_verdict_is_as_stated(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", VERDICT_ROWS)
    for verdict in verdicts([source], ValidateConfig().by_row):
        line = json.loads(verdict.model_dump_json())
        assert line.keys() == {"file", "line", "id", "verdict", "findings"}
        assert all(finding.keys() == {"rule", "level", "value", "remedy"} for finding in line["findings"])
