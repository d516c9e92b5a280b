"""The best champion so far, by metric, from the promotion log alone; and the list of questions that must hold."""

from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.promotion.decisions import PromotionConfig, apply_decision
from flows.sources import tries
from tasks.engine.errors import UserError
from tasks.engine.plan import Pending
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.questions import read_questions
from tests.flows.promotion.promoting import log_of, number, outcome
from tests.tasks.engine.storage.published import publish

GAIN, NOTHING = ("champion", "correct", 0.01), ("champion", "correct", -0.03)
OVER_BEST = ("best", "correct", 0.01)
CASES = {
    "the first, while nothing is shown": ([("a",), ("b", [NOTHING]), ("c", [NOTHING])], "a"),
    "one that is shown to beat it": ([("a",), ("b", [GAIN])], "b"),
    "not one that beats a champion that is not the best": ([("a",), ("b", [NOTHING]), ("c", [GAIN])], "a"),
    "one that beats the best itself": ([("a",), ("b", [NOTHING]), ("c", [NOTHING, OVER_BEST])], "c"),
    "not by a gain in another metric": ([("a",), ("b", [("champion", "abstention_f1", 0.1)])], "a"),
    "where a person wants to start from": ([("a",), ("b", [], "promote", True)], "b"),
    "without what was rolled back": ([("a",), ("b", [GAIN]), ("b", [], "rollback", True)], "a"),
    "none in an empty log": ([], None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_best_so_far_is(case):
    steps, wanted = CASES[case]
    found = log_of(*steps).best("correct")
    assert (found and found.key) == wanted


LOST = [
    {"id": "tides-3", "query": "When is high water?", "document": "Tides", "reference": "At 04:10.", "lost": True}
    | {"tuned": {"answer": "At 16:10."}},
    {"id": "ferry-1", "query": "What does a car pay?", "document": "Ferry", "reference": "31 crowns.", "lost": True}
    | {"tuned": {"answer": "13 crowns."}},
    {"id": "ferry-2", "query": "And a bicycle?", "document": "Ferry", "reference": "4.", "lost": False}
    | {"tuned": {"answer": "4."}},
]


def pin(folder: Path, *words: str):
    settings = ["-s", f"store={folder / 'store'}", "-s", f"gate.must_hold={folder / 'list.jsonl'}"]
    return CliRunner().invoke(app, ["pin", *words, *settings])


def test_pin_adds_what_got_lost_once_and_shows_it(tmp_path):
    content = {"mistakes": {"against": "champion"}, "answers": LOST}
    publish(Store(tmp_path / "store"), number("report"), {"report.json": orjson.dumps(content)}, "report")
    first = pin(tmp_path, "--only", "ferry-1")
    assert first.exit_code == 0, first.output
    assert "+ ferry-1: What does a car pay?" in first.output
    both = pin(tmp_path)
    assert (
        "+ tides-3" in both.output
        and "+ ferry-1" not in both.output
        and "1 of 2 questions added" in " ".join(both.output.split())
    )
    content = (tmp_path / "list.jsonl").read_bytes()
    assert [each.id for each in read_questions(tmp_path / "list.jsonl")] == ["ferry-1", "tides-3"]
    assert pin(tmp_path).exit_code == 0
    assert (tmp_path / "list.jsonl").read_bytes() == content
    unknown = pin(tmp_path, "--only", "ferry-2")
    assert isinstance(unknown.exception, UserError) and "ferry-2" in str(unknown.exception)


@pytest.mark.parametrize(
    ("line", "says"), [("[1]", "names no question"), ("{", "is no JSON"), ('{"id": ""}', "names no")]
)
def test_a_line_that_names_no_question_is_refused_with_its_number(tmp_path, line, says):
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"id": "tides-3"}}\n\n{line}\n')
    with pytest.raises(UserError, match=f"list.jsonl:3: .*{says}"):
        read_questions(path)


def test_adapters_judged_on_these_very_questions_since_the_last_change_are_counted(store):
    def retrained(name, decision, asked="spring"):
        return outcome(store, name, champion, decision=decision, asked=asked)

    def counted(adapter=NEW, digest="spring"):
        return tries(store, adapter, SimpleNamespace(digest=digest))

    champion = None
    first = retrained("a", "refuse")
    for each in (first, retrained("b", "undecided"), retrained("c", "refuse", asked="autumn"), first):
        apply_decision(store, PromotionConfig(), each)
    assert (counted(), counted(digest="autumn"), counted(digest="winter")) == (2, 1, 0)
    assert counted(first.adapter) == 0  # none before it: a rerun finds its gate as it was
    apply_decision(store, PromotionConfig(), made := retrained("d", "promote"))
    assert (counted(), counted(made.adapter)) == (0, 2)
    champion = made.adapter
    apply_decision(store, PromotionConfig(), retrained("e", "refuse"))
    assert counted() == 1


NEW = Pending("export")  # an adapter that is still to be trained
