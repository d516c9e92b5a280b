"""Single questions: those that got lost, at most so many of them, and those that must hold; and the best so far."""

import json
from shutil import copytree

import pytest

from tasks.evaluation.gating.rules import Rule
from tasks.gate import GateConfig, gate
from tests.tasks.evaluation.gating.evaluation import Evaluation
from tests.tasks.evaluation.rows import REFUSAL, poor, right

NOT_WORSE = (Rule(metric="correct", must="not_worse", margin=0.3),)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return Evaluation(tmp_path_factory.mktemp("lost"), 120)


def few_lost(number, row):
    """Rows 0, 40, 80, …, which are answerable, are refused: 6 of 240."""
    return REFUSAL if number % 40 == 0 else row.answer


def many_lost(number, row):
    return REFUSAL if number % 4 == 0 else row.answer


def verdict(found, metric):
    return next(each for each in found["verdicts"] if each["metric"] == metric)


def test_what_the_champion_had_right_and_the_new_one_has_not_is_listed(evaluation):
    found = evaluation.judged(poor, few_lost, champion=right)
    assert [each["id"] for each in found["flips"]] == [f"{number}-with" for number in range(0, 120, 20)]
    assert {(each["was"], each["now"]) for each in found["flips"]} == {("right", "refused wrongly")}
    assert evaluation.judged(right, few_lost)["flips"] == found["flips"], "without a champion against the base"


@pytest.mark.parametrize(
    ("system", "most", "outcome"), [(few_lost, 0.1, "holds"), (few_lost, 0.03, "open"), (many_lost, 0.1, "fails")]
)
def test_a_rule_bounds_the_share_that_got_lost_by_its_interval(evaluation, system, most, outcome):
    anything = (Rule(metric="correct", must="not_worse", margin=0.9),)
    config = GateConfig(rules=anything, max_flips=most, resamples=100)
    found = evaluation.judged(poor, system, config, champion=right)
    told = verdict(found, "flips")
    assert (told["outcome"], told["against"]) == (outcome, "champion")
    assert told["low"] <= told["value"] <= told["high"]
    if outcome == "fails":
        assert found["decision"] == "refuse"
        assert "right answers lost are 0.25" in found["why"]


@pytest.mark.parametrize(
    ("listed", "decision", "says"),
    [
        ({"id": "0-without"}, "promote", None),
        ({"id": "20-with"}, "refuse", "(Sheet 20)”"),
        ({"query": "20"}, "refuse", "(Sheet 20)”"),
        ({"id": "another"}, "undecided", "1 of 1 are not among the evaluation questions: “another”"),
    ],
)
def test_a_question_that_must_hold_refuses_whatever_the_averages_say_and_is_named(
    evaluation, tmp_path, listed, decision, says
):
    if "query" in listed:
        listed = {"query": evaluation.triplets[40].query}
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(listed))
    scores = {f"{name}_scores": evaluation.scores(say) for name, say in (("base", poor), ("tuned", few_lost))}
    gate(GateConfig(rules=NOT_WORSE, resamples=100), **scores, must_hold=path, rows=evaluation.rows, out=tmp_path)
    found = json.loads((tmp_path / "gate.json").read_text())
    assert found["decision"] == decision
    assert says is None or says in found["why"]


def test_what_is_as_good_as_the_champion_and_worse_than_the_best_so_far_is_refused(evaluation):
    rules = (*NOT_WORSE, Rule(metric="correct", against="best", must="not_worse", margin=0.05))
    config = GateConfig(rules=rules, resamples=100)
    found = evaluation.judged(poor, many_lost, config, champion=many_lost, best_correct=right)
    assert found["decision"] == "refuse"
    assert "is worse than the best so far" in found["why"]
    assert evaluation.judged(poor, many_lost, config, champion=many_lost)["decision"] == "promote"
    # Where the champion is the best, the rule is asked of it.
    assert evaluation.judged(poor, many_lost, config, champion=right)["decision"] == "refuse"


def test_a_best_so_far_that_cannot_answer_leaves_it_undecided_and_says_so(evaluation):
    missing = "the best so far, export/12 needs its base model old, which is not on this machine"
    rules = (*NOT_WORSE, Rule(metric="correct", against="best", must="not_worse", margin=0.05))
    config = GateConfig(rules=rules, best_missing=missing, resamples=100)
    found = evaluation.judged(poor, right, config, champion=poor)
    assert found["decision"] == "undecided"
    assert missing in found["why"]


@pytest.mark.parametrize(
    ("base", "tuned", "most", "outcome"),
    [(2.8, 2.85, 0.1, "holds"), (2.8, 3.1, 0.1, "fails"), (8.9, 9.9, 0.1, "open"), (2.8, 3.1, None, None)],
)
def test_a_rule_bounds_what_a_training_made_the_base_forget(evaluation, tmp_path, base, tuned, most, outcome):
    scores = {}
    for name, say, loss in (("base", poor, base), ("tuned", right, tuned)):
        scores[f"{name}_scores"] = copytree(evaluation.scores(say), tmp_path / name)
        (tmp_path / name / "summary.json").write_text(json.dumps({"general_loss": loss}))
    gate(GateConfig(rules=NOT_WORSE, max_forgetting=most, resamples=100), **scores, out=tmp_path)
    found = json.loads((tmp_path / "gate.json").read_text())
    assert found["forgetting"] == (None if base > 6 else {"base": base, "tuned": tuned})
    assert [each["outcome"] for each in found["verdicts"] if each["metric"] == "forgetting"] == (
        [outcome] * (most is not None)
    )
    assert found["decision"] == {"fails": "refuse", "open": "undecided"}.get(outcome, "promote")
    assert outcome != "fails" or "nats per token lost on a general text are 0.30, more than 0.10" in found["why"]
