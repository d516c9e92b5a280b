"""What is said beforehand of the rules' power, beside what the simulated gate really does."""

import numpy as np
import pytest

from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.power import power
from tasks.evaluation.gating.rules import Rule, default_rules
from tests.tasks.evaluation.gating.simulation import METRICS, World, evaluation, share

RULES = [rule for rule in default_rules() if rule.judges("base")]


def size(world):
    return world.documents, round(world.documents * (world.most_rows + 1) / 2)


@pytest.mark.parametrize(
    "world", [World(documents=200, most_rows=4), World(documents=500, most_rows=4), World(documents=130, most_rows=10)]
)
def test_a_true_gain_is_promoted_as_often_as_is_said_before_there_are_scores(world):
    said = power(RULES, "any", size=size(world))
    found = share([evaluation(world, seed, correct=said.gain)[2] == "promote" for seed in range(60)])
    assert said.assumed
    assert found == pytest.approx(said.chance, abs=0.17)  # sixty tell a share of .5 to ± .13


def test_what_was_measured_on_one_evaluation_tells_of_larger_ones():
    small, large = World(documents=250, most_rows=4), World(documents=500, most_rows=4)
    rng = np.random.default_rng(5)
    rows = small.rows(rng)
    compared = compare(
        small.answers(rows, rng), small.answers(rows, rng), ("base", "tuned"), resamples=200, seed=0, metrics=METRICS
    )
    measured, assumed = power(RULES, "any", compared, size=size(large)), power(RULES, "any", size=size(large))
    assert not measured.assumed
    assert measured.chance == pytest.approx(assumed.chance, abs=0.15)
    counts = power(RULES, "any", compared, measured=False, size=size(large))
    assert counts.assumed and counts.chance == pytest.approx(assumed.chance, abs=0.1)


def test_the_rules_that_hold_it_back_are_named_with_the_margins_that_could_be_shown():
    here = (220, 550)
    said = power(RULES, "any", size=here)
    assert said.chance < 0.8 < power(RULES, "any", size=(said.needed, said.needed_rows)).chance + 0.01
    worst = said.limits[0]
    assert (worst.rule.metric, worst.rule.must) == ("abstention_f1", "not_worse")
    wider = {each.rule.metric: each.margin for each in said.limits if each.margin}
    mended = [rule.model_copy(update={"margin": wider.get(rule.metric, rule.margin)}) for rule in RULES]
    assert power(mended, "any", size=here).chance >= 0.8


def test_under_100_documents_nothing_is_promoted_and_a_margin_of_nothing_is_shown_by_no_number():
    assert power(RULES, "any", size=(90, 900)).chance == 0
    strict = [Rule(metric="correct", must="better"), Rule(metric="hallucination", must="not_worse", margin=0)]
    assert power(strict, "any").needed is None
    assert power(strict[:1], "any").needed < 300


def test_one_gain_of_several_is_enough_or_each_must_be_shown():
    claims = [Rule(metric=name, must="better") for name in ("correct", "abstention_f1")]
    assert power(claims, "any", size=(200, 600)).chance > power(claims, "all", size=(200, 600)).chance
