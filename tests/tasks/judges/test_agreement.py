"""What a judge is worth: measured on answers whose support is known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import mannwhitneyu

from tasks.evaluation.metrics.grounding import hallucination
from tasks.evaluation.metrics.row import Row
from tasks.judges.agreement import STRATA, agreement, auroc, better, calibrated, labelled
from tasks.judges.cases import Judgement, lexical
from tasks.text import ContextView

CASES, KINDS = labelled()
RANDOM = np.random.default_rng(1)


def judged(scores) -> list[Judgement]:
    return [Judgement(float(score)) for score in scores]


def noisy(right: float, *, blind: tuple[str, ...] = ()) -> list[Judgement]:
    """A judge whose scores of supported answers lie `right` deviations higher, but for kinds that it is blind to."""
    seen = np.array([kind is None or kind in blind for kind in KINDS], dtype=float)
    return judged(1 / (1 + np.exp(-right * seen - RANDOM.normal(size=len(KINDS)))))


def test_each_kind_of_failure_has_two_dozen_answers_and_no_two_answers_are_the_same():
    counted = Counter(KINDS)
    assert counted.pop(None) >= 3 * 24
    assert counted == dict.fromkeys(STRATA, 24)
    assert len({(case.context, case.answer) for case in CASES}) == len(CASES)


def test_auroc_is_the_mann_whitney_statistic():
    scores, positive = RANDOM.integers(0, 5, 80).astype(float), RANDOM.random(80) < 0.4
    expected = mannwhitneyu(scores[positive], scores[~positive]).statistic / (positive.sum() * (~positive).sum())
    assert auroc(scores, positive) == pytest.approx(expected)
    assert np.isnan(auroc(scores, np.ones(80, dtype=bool)))


def test_a_perfect_judge_and_one_that_tosses_a_coin():
    perfect = agreement("perfect", judged(kind is None for kind in KINDS))
    assert (perfect.auroc, perfect.low, perfect.high, perfect.false_alarms) == (1, 1, 1, 0)
    assert all(each.caught == 1 and perfect.sees(each.stratum) for each in perfect.strata)
    coin = agreement("coin", noisy(0))
    assert coin.low < 0.5 < coin.high
    assert not any(coin.sees(stratum) for stratum in STRATA)


def test_what_a_judge_is_blind_to_is_named():
    found = agreement("half blind", noisy(4, blind=("swapped", "negated")))
    assert {each for each in STRATA if not found.sees(each)} == {"swapped", "negated"}


def test_a_judge_that_scores_nothing_has_no_agreement():
    assert agreement("silent", [Judgement(None, "too long")] * len(CASES)) is None


def test_one_judge_is_better_than_another_only_beyond_chance():
    good, fair = noisy(4), noisy(1)
    assert better(good, fair)
    assert not better(fair, good)
    assert not better(good, good)


def test_signals_become_a_probability_that_is_measured_without_the_context_it_judges():
    strong, useless = noisy(3), noisy(0)
    known, new = calibrated([strong, useless], [strong, useless])
    assert agreement("both", known).auroc >= agreement("strong", strong).auroc - 0.02
    assert all(0 <= each.score <= 1 for each in new)
    held_out, _ = calibrated([useless, useless], [useless, useless])
    assert agreement("useless", held_out).low < 0.5


def test_a_signal_that_is_missing_leaves_no_probability():
    strong = noisy(3)
    holed = [Judgement(None, "too long"), *strong[1:]]
    known, new = calibrated([holed, strong], [holed, strong])
    assert known[0] == new[0] == Judgement(None, "too long")
    assert all(each.score is not None for each in known[1:])


def test_words_tell_each_way_to_fail_and_stitched_claims_and_swapped_values_least():
    found = {each.stratum: each.auroc for each in agreement("lexical", lexical(CASES)).strata}
    assert min(found[name] for name in ("unrelated", "missing", "plausible", "negated")) > 0.9
    assert 0.75 < min(found.values()) < 0.9


def test_answers_that_shaped_no_check_are_judged_as_people_do():
    """What the report says of the words' agreement: 92 %, supported and unsupported answers weighed alike."""
    right = {True: [], False: []}
    for entry in yaml.safe_load(Path(__file__).with_name("unseen.yaml").read_text("utf-8")):
        view = ContextView(entry["context"])
        for supported, name in ((True, "supported"), (False, "unsupported")):
            said = [hallucination(Row(entry["query"], view, answer)) for answer in entry[name]]
            right[supported] += [each != supported for each in said]
    shares = {kind: sum(each) / len(each) for kind, each in right.items()}
    assert round(sum(shares.values()) / 2, 2) == 0.92, shares
