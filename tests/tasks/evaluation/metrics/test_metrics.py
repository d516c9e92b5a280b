"""Each metric on rows small enough to reckon by hand."""

import inspect

import numpy as np
import pytest

from tasks.evaluation.gating.rules import DECIDING, KEPT, PRIMARY, default_rules, parity_rules
from tasks.evaluation.metrics import METRICS, Metric, Row
from tasks.evaluation.metrics.abstention import abstention_f1_weight, baselines, contrast_pairs, handled
from tasks.evaluation.metrics.scores import Scores
from tasks.score import ScoreConfig, summarise
from tasks.text import ContextView

REFUSAL = "Not stated in the context."
CONTEXT = ContextView(["The feed pump runs at 1,450 rpm and weighs 85 kg.", "Paint it grey after every repair."])


def row(answer: str, **facts) -> Row:
    facts = {"reference": "It runs at 1450 rpm.", "refusal": REFUSAL, "value": "1450 rpm"} | facts
    return Row(query="At what speed does the feed pump run?", context=CONTEXT, answer=answer, **facts)


def unanswerable(answer: str, **facts) -> Row:
    return row(answer, **({"reference": REFUSAL, "should_abstain": True, "value": None} | facts))


def numbered(answer: str) -> Row:
    context = ContextView([f"[{at}] {passage}" for at, passage in enumerate(CONTEXT.passages, 1)])
    return Row(query="At what speed does the feed pump run?", context=context, answer=answer)


ANSWERED, WRONG = row("It runs at 1,450 rpm."), row("It runs at 3000 rpm.")
REFUSED, PARAPHRASED = row(REFUSAL), row("The passages do not mention the speed.")

CASES = [
    ("correct", row("It runs at 1,450 rpm."), 1),
    ("correct", row("It runs at 3000 rpm."), 0),
    ("correct", row("2023", reference="27 September 2023", value="27 September 2023"), 1),
    ("correct", row("27", reference="27 September 2023", value="27 September 2023"), 0),
    ("correct", REFUSED, 0),
    ("correct", unanswerable(REFUSAL), None),
    ("exact_match", row("it runs at 1450 RPM!"), 1),
    ("exact_match", row("1450 rpm"), 0),
    ("exact_match", REFUSED, 0),
    ("exact_match", unanswerable(REFUSAL), None),
    ("token_f1", row("1450 rpm"), 2 * 2 / (2 + 5)),
    ("token_f1", row("the 1450 rpm"), 2 * 2 / (2 + 5)),  # articles do not count
    ("token_f1", REFUSED, 0),
    ("token_f1", unanswerable(REFUSAL), None),
    ("contains_value", row("The speed of it is 1450rpm, says the sheet."), 1),
    ("contains_value", row("It runs at 1,450.0 rpm."), 1),
    ("contains_value", row("It runs at 11450 rpm."), 0),
    ("contains_value", row("1450", value=None), None),
    ("contains_value", unanswerable("1450 rpm", value="1450 rpm"), None),
    ("rouge_l", row("It runs at rpm 1450."), 2 * 4 / 10),
    ("rouge_l", REFUSED, None),
    ("form", row("It runs at 3000 bar."), 1),
    ("form", row("1450 rpm"), 2 * 2 / 7),
    ("form", row("It is 1450 rpm, and no more."), 2 * 3 / 12),
    ("form", REFUSED, None),
    ("form", unanswerable("1450 rpm"), None),
    ("chrf", row("It runs at 1450 rpm."), 1),
    ("chrf", row("xyz"), 0),
    ("chrf", REFUSED, None),
    ("chrf", unanswerable("1450 rpm"), None),
    ("citations_exist", numbered("It runs at 1,450 rpm [1]. It is grey [2, 5]."), 2 / 3),
    ("citations_exist", numbered("It runs at 1,450 rpm. [1] It is grey (2)."), 1),
    ("citations_exist", numbered("It runs at 1,450 rpm."), None),
    ("citations_exist", row("It runs at 1,450 rpm [1]."), None),
    ("citations_supported", numbered("It runs at 1,450 rpm [1]. Paint it grey [2]."), 1),
    (
        "citations_supported",
        numbered("The feed pump runs at 1,450 rpm [2]. Paint it grey after every repair [1-2]."),
        0.5,
    ),
    ("citations_supported", numbered("The feed pump runs at 1,450 rpm [7]."), 0),
    ("citations_supported", numbered("It runs at 1,450 rpm."), None),
    ("citations_supported", row("It runs at 1,450 rpm [1]."), None),
    ("length_ratio", row("It runs."), 2 / 5),
    ("length_ratio", REFUSED, None),
    ("unsupported_numbers", ANSWERED, 0),
    ("unsupported_numbers", WRONG, 1),
    ("unsupported_numbers", REFUSED, 0),
    ("unsupported_entities", row("It was made by Siemens."), 1),
    ("unsupported_entities", row("It is the Feed Pump."), 0),
    ("hallucination", ANSWERED, 0),
    ("hallucination", WRONG, 1),
    ("hallucination", row("Boilers explode when neglected."), 1),
    ("faithfulness", REFUSED, None),
    ("faithfulness", row("Yes."), None),
    ("faithfulness", row("The feed pump runs at 1,450 rpm."), 1),
    ("copy_density", row("The feed pump runs at 1,450 rpm when it is hot."), 8 / 12),
    ("copy_density", row("1450 rpm"), None),
    ("copy_density", REFUSED, None),
    ("relevance", row("The feed pump runs at a high speed."), 1),
    ("relevance", REFUSED, None),
    ("refusal_exactness", REFUSED, 1),
    ("refusal_exactness", PARAPHRASED, 0),
    ("refusal_exactness", row(REFUSAL + " But it is 1450 rpm."), 0),
    ("refusal_exactness", ANSWERED, None),
    ("truncated", row("It runs at", truncated=True), 1),
    ("truncated", ANSWERED, 0),
    ("abstained", PARAPHRASED, 1),
    ("abstained", ANSWERED, 0),
    ("abstention_recall", unanswerable(REFUSAL), 1),
    ("abstention_recall", unanswerable("It runs at 3000 rpm."), 0),
    ("abstention_recall", ANSWERED, None),
    ("abstention_precision", unanswerable(REFUSAL), 1),
    ("abstention_precision", REFUSED, 0),
    ("abstention_precision", ANSWERED, None),
    ("over_refusal", REFUSED, 1),
    ("over_refusal", ANSWERED, 0),
    ("over_refusal", unanswerable(REFUSAL), None),
    ("leaky_abstention", unanswerable(REFUSAL), 0),
    ("leaky_abstention", unanswerable(REFUSAL + " However, such pumps run at 3000 rpm."), 1),
    ("leaky_abstention", ANSWERED, None),
    ("abstention_f1", ANSWERED, None),
]


@pytest.mark.parametrize(("name", "given", "expected"), CASES)
def test_a_metric_gives_what_one_reckons_by_hand(name, given, expected):
    value = METRICS[name].measure(given)
    assert value == (None if expected is None else pytest.approx(expected))


def test_every_metric_of_one_row_has_a_case():
    assert {name for name, metric in METRICS.items() if metric.level == "row"} == {name for name, _, _ in CASES}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_its_range_or_direction(name):
    told = inspect.getdoc(METRICS[name].measure)
    words = {"higher": ("up",), "lower": ("down",), "none": ("diagnostic",)}[METRICS[name].direction]
    assert told and any(word in told.lower() for word in words)


def test_abstention_f1_is_the_harmonic_mean_of_precision_and_recall():
    rows = [unanswerable(REFUSAL)] * 3 + [unanswerable("3000 rpm.")] * 2 + [REFUSED] + [ANSWERED] * 4
    weighted = [(METRICS["abstention_f1"].measure(each), abstention_f1_weight(each)) for each in rows]
    f1 = sum(value * weight for value, weight in weighted if value is not None) / sum(weight for _, weight in weighted)
    precision, recall = 3 / 4, 3 / 5
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_baselines_are_what_refusing_always_and_never_would_score():
    always, never = baselines(0.25).values()
    assert always == {
        "abstention_recall": 1,
        "abstention_precision": 0.25,
        "abstention_f1": pytest.approx(0.4),
        "over_refusal": 1,
    }
    assert never["abstention_f1"] == never["over_refusal"] == 0
    assert never["abstention_precision"] is None


def test_a_row_is_handled_by_answering_or_refusing_as_it_should():
    assert handled(ANSWERED)
    assert not handled(WRONG)
    assert not handled(REFUSED)
    assert handled(unanswerable("The context does not give its speed."))
    assert not handled(unanswerable(REFUSAL + " However, such pumps run at 3000 rpm."))
    assert not handled(row("Fast enough.", value=None))


def test_a_contrast_pair_counts_once_and_needs_both_sides():
    key, other, alone = ("P-1", "speed?"), ("P-2", "speed?"), ("P-3", "speed?")
    rows = [(key, False, True), (other, False, True), (key, True, True), (other, True, False), (alone, True, True)]
    assert contrast_pairs(rows) == [1.0, 0.0, None, None, None]


def test_neither_always_nor_never_refusing_gets_a_pair_right():
    for answer in (REFUSAL, "It runs at 1,450 rpm."):
        sides = [row(answer), unanswerable(answer)]
        assert contrast_pairs([(("P", "q"), each.should_abstain, handled(each)) for each in sides]) == [0.0, None]


def test_a_metric_must_say_whether_it_is_a_rate_or_a_mean():
    with pytest.raises(TypeError, match="kind"):
        Metric(lambda row: 1.4, "Shouting", "Correctness", "higher")


def test_a_mean_that_is_declared_a_rate_is_an_error_and_gets_no_false_interval(monkeypatch):
    columns = {name: np.zeros(2) for name in (*METRICS, "abstention_f1_weight", "should_abstain")}
    scores = Scores(["1", "2"], ["a", "b"], ["x", "y"], columns | {"shouting": np.array([1.4, np.nan])})
    for kind in ("mean", "rate"):
        monkeypatch.setitem(METRICS, "shouting", Metric(lambda row: 1.4, "Shouting", "Correctness", "higher", kind))
        if kind == "mean":
            assert summarise(ScoreConfig(), scores)["metrics"]["shouting"]["high"] == 1.4
        else:
            with pytest.raises(ValueError, match="shouting is a rate"):
                summarise(ScoreConfig(), scores)


def test_the_primary_metrics_are_these_four_and_three_of_them_add_a_rule_to_the_gate():
    """Whoever makes another metric primary changes what promotes: see `Metric`."""
    assert PRIMARY == ("correct", "faithfulness", "hallucination", "abstention_f1")
    claims = [rule for rule in default_rules() if rule.must == "better"]
    assert tuple(rule.metric for rule in claims) == DECIDING  # so many p-values are corrected by Holm
    assert {rule.metric for rule in default_rules() if rule.against == "best"} == set(DECIDING)
    # all but support by words, which right answers in own words lose; over-refusal, and a floor under right answers
    assert {*KEPT} == {*PRIMARY} - {"faithfulness"} | {"over_refusal"}
    assert len(default_rules()) == 2 * len(DECIDING) + len(KEPT) + 1
    assert len(parity_rules(0.05)) == len(PRIMARY)
