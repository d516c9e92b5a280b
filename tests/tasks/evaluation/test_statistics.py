"""The error bars, against figures reckoned by hand, against SciPy, and by simulation."""

import numpy as np
import pytest

from tasks.evaluation.statistics import (
    bootstrap,
    cluster_codes,
    detectable_mean,
    detectable_rate,
    estimate,
    holm,
    mcnemar,
    mean_change,
    rate_change,
    span_of,
    weighted_sums,
    with_squares,
)
from tests.tasks.evaluation.gating.simulation import SKEWED, skewed


def sums_of(values, clusters, weights=None):
    values = np.asarray(values, dtype=float)
    return weighted_sums(values, np.ones(len(values)) if weights is None else weights, cluster_codes(clusters))


def compared(base, tuned, clusters, *, resamples=1000, seed=0):
    """A change of means; what one of them was not scored on counts for neither."""
    both = ~np.isnan(base) & ~np.isnan(tuned)
    pair = [sums_of(np.where(both, values, np.nan), clusters) for values in (base, tuned)]
    change = np.stack([pair[1][:, 0] - pair[0][:, 0], pair[0][:, 1]], axis=1)
    drawn = bootstrap(with_squares(change), resamples=resamples, seed=seed)
    return mean_change(change, drawn)


def test_sums_are_per_cluster_and_leave_out_what_was_not_scored():
    sums = sums_of([1, np.nan, 3, 5], ["a", "a", "b", "a"], np.array([1.0, 9.0, 1.0, 2.0]))
    assert sums.tolist() == [[11, 3], [3, 1]]


def test_an_estimate_is_the_weighted_mean_with_the_error_of_its_documents():
    rng = np.random.default_rng(1)
    values, clusters = rng.uniform(0, 1, 400), [str(i) for i in range(400)]
    found = estimate(sums_of(values, clusters))
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std() / np.sqrt(400), rel=0.01)
    assert found.low == pytest.approx(values.mean() - 1.96 * found.error, abs=0.002)


@pytest.mark.parametrize("alike", [0.3, 1.0])
@pytest.mark.parametrize("shape", SKEWED)
def test_skewed_means_of_50_documents_are_covered_nine_times_in_ten(shape, alike):
    rng, covered, true = np.random.default_rng(9), [], SKEWED[shape][1]
    for _ in range(400):
        values, document = skewed(shape, alike, 50, rng)
        found = estimate(sums_of(values, document.tolist()), span=span_of(values))
        assert found.low < found.high
        covered.append(found.low <= true <= found.high)
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("value", [0.0, 0.8, 1.0])
def test_what_is_the_same_in_all_documents_has_a_width_and_ten_rows_of_each_tell_no_more_than_one(value):
    one, ten = (estimate(sums_of(np.full(rows, value), [str(i % 50) for i in range(rows)])) for rows in (50, 500))
    assert (one.low, one.high) == pytest.approx((ten.low, ten.high))
    assert one.low < one.high
    assert 0 <= one.low <= value <= one.high <= 1


def test_the_same_seed_gives_the_same_bytes_and_another_another():
    sums = sums_of(np.arange(50.0), [str(i % 10) for i in range(50)])
    first, again, other = (bootstrap(sums, resamples=500, seed=seed) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_blocks_of_draws_do_not_change_what_a_resample_is():
    """With more clusters than a block holds draws, each resample still draws as many clusters as there are."""
    sums = np.ones((50_000, 1))
    assert bootstrap(sums, resamples=130, seed=0).ravel().tolist() == [50_000] * 130


def test_rows_of_one_document_widen_the_interval():
    rng = np.random.default_rng(2)
    per_document = np.repeat(rng.normal(0, 1, 100), 10)
    base = np.zeros(1000)
    rows = compared(base, per_document, [str(i) for i in range(1000)])
    documents = compared(base, per_document, [str(i // 10) for i in range(1000)])
    assert documents.error == pytest.approx(rows.error * np.sqrt(10), rel=0.15)


def test_pairing_takes_out_what_both_systems_share():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 5, 200)
    found = compared(hard, hard + 1 + rng.normal(0, 0.1, 200), [str(i) for i in range(200)])
    assert (found.low, found.high) == (pytest.approx(1, abs=0.03), pytest.approx(1, abs=0.03))
    assert found.p < 0.01
    assert detectable_mean(found.error, 200) == pytest.approx(2.82 * found.error, rel=0.01)


def test_no_difference_at_all_is_no_significant_difference_nor_a_certain_one():
    nothing = sums_of(np.zeros(120), [str(i) for i in range(120)])
    found = rate_change([nothing, nothing])  # losses and gains
    assert (found.value, found.p) == (0, 1)
    assert found.low == -found.high
    assert 0.02 < found.high < 0.06  # none in 120: up to 4 in 120, of either


def test_what_neither_system_was_scored_on_is_none():
    nothing = np.full(3, np.nan)
    assert compared(nothing, np.arange(3.0), ["a", "b", "c"]) is None
    sums = [sums_of(values, ["a", "b", "c"]) for values in (nothing, np.ones(3))]
    assert estimate(sums[0]) is rate_change(sums) is None


def test_a_ratio_whose_denominator_varies_is_a_ratio():
    """Precision of refusals: in half the documents nothing is refused, which must not count as 0."""
    values = [np.nan, 1.0, 0.0, 1.0] * 50
    sums = sums_of(values, [str(i) for i in range(200)])
    found = estimate(sums)
    assert found.value == pytest.approx(2 / 3)
    assert found.error == pytest.approx(np.sqrt(2 / 9 / 150), rel=0.02)


def test_intervals_cover_and_the_null_is_rarely_rejected():
    """300 simulated comparisons over 120 documents of 1 to 4 rows: 95 % intervals, 5 % tests."""
    rng = np.random.default_rng(4)
    covered = rejected = 0
    for seed in range(300):
        sizes = rng.integers(1, 5, 120)
        clusters = np.repeat(np.arange(120), sizes)
        effect = np.repeat(rng.normal(0, 0.15, 120), sizes) + rng.normal(0, 0.15, sizes.sum())
        found = compared(np.zeros(len(effect)), effect, clusters.tolist(), resamples=500, seed=seed)
        covered += found.low <= 0 <= found.high
        rejected += found.p < 0.05
    assert 0.91 <= covered / 300 <= 0.98
    assert rejected / 300 <= 0.09


def test_a_rate_has_wilsons_interval_and_fewer_effective_rows_where_documents_are_alike():
    from scipy.stats import binomtest

    hits = np.arange(1000) % 10 < 3
    alone = estimate(sums_of(hits, [str(i) for i in range(1000)]))
    wilson = binomtest(300, 1000).proportion_ci(method="wilson")
    assert (alone.low, alone.high) == (pytest.approx(wilson.low, abs=2e-4), pytest.approx(wilson.high, abs=2e-4))
    whole = estimate(sums_of(np.sort(hits), [str(i // 10) for i in range(1000)]))  # all of a document or none
    assert whole.high - whole.low == pytest.approx((alone.high - alone.low) * np.sqrt(10), rel=0.03)


def test_no_failure_in_n_bounds_the_rate_near_4_over_n():
    found = estimate(sums_of(np.zeros(100), [str(i) for i in range(100)]))
    assert (found.value, found.low) == (0, 0)
    assert 0.03 <= found.high <= 0.04


@pytest.mark.parametrize("refused", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_an_f1_near_0_or_1_is_covered_although_all_its_rows_weigh_alike_there(refused):
    """Of 100 unanswerable questions so many are refused, and nothing else: F1 = 2p / (1 + p), weights 2 and 1.

    Wilson's interval of the weighted rows covers 82 % where .02 are, whether the sum of weights or Kish's size
    stands for their number: at 0 all weigh 1, and the one that is refused next weighs 2.
    """
    rng, true = np.random.default_rng(8), 2 * refused / (1 + refused)
    covered = []
    for _ in range(600):
        hits = (rng.random(100) < refused).astype(float)
        found = estimate(sums_of(hits, [str(i) for i in range(100)], 1 + hits), odds=2)
        assert found.low < found.high
        covered.append(found.low <= true <= found.high)
    assert np.mean(covered) >= 0.93


def test_of_no_right_refusal_in_n_the_f1_may_still_be_near_8_over_n():
    """Any one that comes weighs twice: the plain share is up to 3.9 of 104, and the F1 up to 7.6."""
    hits = np.zeros(104)
    found = estimate(sums_of(hits, [str(i) for i in range(104)], 1 + hits), odds=2)
    plain = estimate(sums_of(hits, [str(i) for i in range(104)]))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(2 * plain.high / (1 + plain.high))
    assert 0.065 <= found.high <= 0.08


def test_a_change_of_rates_is_newcombes():
    """His example (1998, table II): 36 both, 12 only the first, 2 only the second, 0 neither gives .04 to .34."""
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [36, 12, 2, 0])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [36, 12, 2, 0])
    found = rate_change([sums_of(each, [str(i) for i in range(50)]) for each in (second, first)])
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.056, abs=0.02), pytest.approx(0.34, abs=0.02))


def test_a_gain_of_the_detectable_size_is_found_four_times_in_five():
    """Rows alone in their documents: of a mean, and of a rate that next to nothing changes so far."""
    rng = np.random.default_rng(5)
    clusters = [str(i) for i in range(300)]
    gain = detectable_mean(0.2 / np.sqrt(300), 300)
    found = [
        compared(np.zeros(300), rng.normal(gain, 0.2, 300), clusters, resamples=300, seed=s).p < 0.05
        for s in range(200)
    ]
    assert 0.72 < np.mean(found) < 0.9
    gain = detectable_rate(1, 1, 60, rows=300, error=np.sqrt(2) / 300, clusters=300)
    found = []
    for _ in range(200):
        lost = rng.binomial(1, 1 / 300, 300)
        gained = rng.binomial(1, 1 / 300 + gain, 300)
        found.append(mcnemar(int((gained > lost).sum()), int((lost > gained).sum())) < 0.05)
    assert 0.72 < np.mean(found) < 0.93


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1), (5, 5, 1), (8, 1, 2 * (1 + 9) / 2**9), (0, 6, 2 / 2**6)])
def test_mcnemar_is_exact(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_holm_corrects_for_being_several():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1, "b": 1}
    assert holm({}) == {}
