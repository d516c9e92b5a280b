"""What people decide of rows: kept line by line, merged, and put into the data unless it is another row now."""

import json

import pytest

from flows.review.decisions import Decisions, apply_decisions, read_rows
from flows.review.page import _difference
from tasks.engine.errors import UserError

ROWS = [
    {
        "id": name,
        "query": f"What is {name}?",
        "context": [f"{name} is 5 bar."],
        "answer": "5 bar",
        "value": "5 bar",
        "mine": 1,
    }
    for name in ("p", "q", "r", "s")
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def decide(data, who, **choices):
    rows, decisions = {row.id: row for row in read_rows(data)}, Decisions(data, who)
    for name, (choice, *edited) in choices.items():
        decisions.decide([(rows[name], choice, *(edited or (None, None)))])
    return decisions


def test_edits_go_in_rejected_rows_go_out_and_others_stay_as_they_are(data):
    decide(data, "ann", p=("edit", "What is p?", "6 bar"), q=("reject",), r=("accept",))
    found = apply_decisions(data, Decisions(data, "ann"))
    assert (found.edited, found.rejected, found.accepted) == (1, 1, 1)
    p, r, s = map(json.loads, data.read_text().splitlines())
    assert p == {"id": "p", "query": "What is p?", "context": ["p is 5 bar."], "answer": "6 bar", "mine": 1}
    assert [r, s] == ROWS[2:]
    before = data.read_text()
    assert apply_decisions(data, Decisions(data, "ann")).edited == 1 and data.read_text() == before


def test_the_last_decision_counts_and_what_is_taken_back_is_none(data):
    decide(data, "ann", p=("reject",))
    decide(data, "ann", p=("accept",), q=("reject",))
    decide(data, "ann", q=("open",))
    assert {name: each.choice for name, each in Decisions(data, "ann").own.items()} == {"p": "accept"}


def test_a_line_that_was_cut_off_by_a_kill_is_dropped_and_no_other(data):
    decide(data, "ann", p=("accept",), q=("accept",))
    path = data.with_name("rows.jsonl.reviews") / "ann.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert set(Decisions(data, "ann").own) == {"p"}
    decide(data, "ann", r=("accept",))
    assert set(Decisions(data, "ann").own) == {"p", "r"}


def test_a_row_that_changed_since_it_was_reviewed_stays_and_is_named(data):
    decide(data, "ann", p=("reject",))
    data.write_text(data.read_text().replace("What is p?", "How high is p?"))
    assert apply_decisions(data, Decisions(data, "ann")).changed == ["p"]
    assert len(read_rows(data)) == 4


def test_reviewers_agree_dispute_and_merge(data):
    decide(data, "ann", p=("accept",), q=("reject",), r=("edit", "What is r?", "7 bar"))
    decide(data, "bob", p=("accept",), q=("accept",), r=("edit", "What is r?", "7 bar"), s=("reject",))
    both = Decisions(data, "cleo")
    assert both.agreement() == (3, 2)
    found = apply_decisions(data, both)
    assert found.disputed == ["q"] and (found.edited, found.rejected, found.accepted) == (1, 1, 1)


@pytest.mark.parametrize("name", ["", "../ann", ".ann", "ann/b"])
def test_a_reviewers_name_is_no_path(data, name):
    with pytest.raises(UserError, match="is no name of a reviewer"):
        Decisions(data, name)


def test_what_is_no_row_is_named(data):
    data.write_text('{"query": "What?"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:1 is no row"):
        read_rows(data)
    with pytest.raises(UserError, match="there is no file"):
        read_rows(data.with_name("other.jsonl"))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("5 bar, see sheet A.", "5 bar, sheet A.", ("see", "")),
        ("It is 5 bar", "5 bar", ("It is", "")),
        ("5 Bar", "5 bar", ("Bar", "bar")),
        ("5 bar", "5 bar at 20 °C", ("", "at 20 °C")),
    ],
)
def test_a_repair_is_the_words_that_were_changed(before, after, found):
    assert _difference(before, after) == found
