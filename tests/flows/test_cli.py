"""The terminal: what it says and how it ends, command by command."""

import json
import re
import sys

import pytest

from flows.cli import app as cli

ROW = {"query": "What is the limit?", "context": ["The limit is 40 bar."], "answer": "The limit is 40 bar."}


@pytest.fixture
def reground(monkeypatch, capsys):
    """Run a command as the shell would; returns exit code, stdout and stderr."""

    def run(*words: str):
        monkeypatch.setattr(sys, "argv", ["reground", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({**ROW, "id": str(i), "query": f"{i}: {ROW['query']}"}) + "\n" for i in range(9))
    )
    return path


@pytest.fixture
def store(tmp_path):
    return f"store={tmp_path / 'store'}"


@pytest.mark.parametrize(
    "command", ["retrain", "plan", "validate", "ask", "versions", "verify", "serve", "show", "config", "gc", "fsck"]
)
def test_every_command_explains_itself(reground, command):
    code, out, _ = reground(command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert command in reground("--help")[1]


def test_validate_prints_the_report_and_where_the_rows_are(reground, rows, store):
    code, out, _ = reground("validate", str(rows), "-s", store)
    assert code == 0
    assert "9 of 9 rows" in out
    assert "quarantine.jsonl" in out


def test_too_many_rejects_stop_with_the_reason_and_keep_the_quarantine(reground, rows, store, tmp_path):
    with rows.open("a") as file:
        file.write('{"query": "no context"}\n' * 5)
    code, _, err = reground("validate", str(rows), "-s", store)
    assert code == 2
    assert "rows.jsonl:10" in err
    assert "max_reject_share" in err
    (kept,) = (tmp_path / "store/.failed").glob("*/quarantine.jsonl")
    assert len(kept.read_text().splitlines()) == 5


def test_validate_for_machines_gives_each_row_a_verdict_as_the_step_reaches_it(reground, rows, store, tmp_path):
    first = rows.read_text().splitlines()[0]
    bad = [
        first,
        json.dumps({**ROW, "query": "Why?", "answer": "It melts at 1,234 °C."}),
        '{"query": "no context"}',
        "{",
    ]
    rows.write_text(rows.read_text() + "\n".join(bad) + "\n")
    code, out, _ = reground("validate", str(rows), "--json", "-s", store, "-s", "validate.max_reject_share=1")
    assert code == 0
    printed = [json.loads(line) for line in out.splitlines()]
    assert [row["line"] for row in printed] == list(range(1, 14)) and {row["file"] for row in printed} == {"rows.jsonl"}
    assert [row["id"] for row in printed[:9]] == [str(number) for number in range(9)]
    repeat, same_id = sorted(printed[9]["findings"], key=lambda each: each["rule"])
    assert (repeat["rule"], repeat["value"]) == ("duplicate", "as rows.jsonl:1") and repeat["remedy"]
    assert (same_id["rule"], same_id["level"]) == ("repeated_id", "warn")
    (quarantine,) = (tmp_path / "store/validate").glob("*/quarantine.jsonl")
    entries = {entry["line"]: entry for entry in map(json.loads, quarantine.read_text().splitlines())}
    assert {row["line"] for row in printed if row["verdict"] == "rejected"} == entries.keys() >= {12, 13}
    for line, entry in entries.items():
        assert entry["rule"] in [each["rule"] for each in printed[line - 1]["findings"]]
    assert {row["verdict"] for row in printed} == {"accepted", "rejected"}
    assert printed[0].keys() == {"file", "line", "id", "verdict", "findings"}
    assert repeat.keys() == {"rule", "level", "value", "remedy"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("validate", "nowhere.jsonl"), "nowhere.jsonl"),
        (("plan", "none.yaml"), "there is no config file none.yaml remedy: ready-made ones: /"),
        (("verify",), "there is no champion of the project 'tiny'"),
        (("artifacts", "-s", f"store={__file__}"), f"store: {__file__} is a file"),
        (("plan", "-s", "train.lora.rank=8"), "train.lora.rank: no such setting"),
        (("plan", "-s", "train"), "write it as name=value"),
        (("plan", "-s", "base.model=/no/such"), "there is no folder '/no/such'"),
        (("ask", "why?", "-c", "no-such-context.txt"), "there is no file no-such-context.txt"),
        (("show", "3f2a"), "no artifact matches '3f2a'"),
    ],
)
def test_a_mistake_exits_with_2_and_a_remedy(reground, store, words, says):
    code, out, err = reground(words[0], "-s", store, *words[1:])
    assert code == 2
    assert says in " ".join(err.split())
    assert "remedy:" in err
    assert "Traceback" not in out + err


def test_a_question_without_an_adapter_says_how_to_get_one(reground, store, tmp_path):
    context = tmp_path / "sheet.txt"
    context.write_text("The limit is 40 bar.")
    code, _, err = reground("ask", "What is the limit?", "-c", str(context), "-s", store)
    assert code == 2
    assert "reground retrain" in err


def test_artifacts_and_show_tell_how_an_artifact_came_to_be(reground, rows, store):
    reground("validate", str(rows), "-s", store)
    _, out, _ = reground("artifacts", "-s", store)
    assert "validate" in out
    key = out.split()[out.split().index("validate") + 1]
    code, printed, _ = reground("show", key[:6], "-s", store)
    assert code == 0
    assert "rows.jsonl" in printed
    record = json.loads(reground("show", key, "--json", "-s", store)[1])
    assert record["key"].startswith(key)


def test_a_plan_for_machines_is_json(reground, store):
    code, out, _ = reground("plan", "--json", "-s", store)
    assert code == 0
    steps = json.loads(out)
    first = {"label": "validate", "step": "validate", "status": "stale"}
    assert steps[0] == {**first, "seconds": None, "gpu_seconds": None, "key": steps[0]["key"], "why": steps[0]["why"]}
    assert (steps[0]["why"]["state"], steps[0]["why"]["changes"]) == ("missing", [])
    assert len(steps[0]["key"]) == 64
    assert steps[-1]["label"] == "report"


def test_gc_says_what_would_go_and_why_the_rest_stays_then_does_it(reground, rows, store, tmp_path):
    reground("validate", str(rows), "-s", store)
    code, out, _ = reground("gc", "-s", store)
    assert code == 0
    assert re.search(r"stays +validate/[0-9a-f]{16} +[0-9.]+ KiB +young", out)
    assert "0 B would be freed" in out
    out = reground("gc", "--older-than", "0", "-s", store)[1]
    assert re.search(r"goes +validate/.* no alias or recent run needs it", out)
    assert "`reground gc --delete` does it" in out
    out = reground("gc", "--older-than", "0", "--delete", "-s", store)[1]
    assert re.search(r"[0-9.]+ KiB freed", out)
    assert list((tmp_path / "store/validate").iterdir()) == []


def test_fsck_ends_with_0_if_all_is_whole_1_if_mended_and_2_if_not(reground, rows, store, tmp_path):
    reground("validate", str(rows), "-s", store)
    code, out, _ = reground("fsck", "-s", store)
    assert (code, out.strip()) == (0, "✓ everything is intact")
    (report,) = (tmp_path / "store").glob("validate/*/report.md")
    report.unlink()
    code, out, _ = reground("fsck", "-s", store)
    assert code == 1
    assert "report.md: has other content than was published, or is gone; restored" in " ".join(out.split())
    assert report.exists()
    (tmp_path / "store/aliases").mkdir()
    (tmp_path / "store/aliases/champion.json").write_text(
        json.dumps({"name": "champion", "step": "train", "key": "f" * 64, "at": "", "by": ""})
    )
    code, out, _ = reground("fsck", "-s", store)
    assert code == 2
    assert "alias champion" in out
