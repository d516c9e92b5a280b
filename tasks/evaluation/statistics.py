"""Error bars: over source documents, as narrow as is honest, and when to say nothing.

Rows from one document are alike, so that documents are what chance drew, not rows (Miller 2024, "Adding Error Bars to
Evals"). A system's own rate or mean has Wilson's interval at its effective sample size, and differences of rates
Newcombe's from these (1998, method 10): they stay honest near the ends, where a bootstrap draws next to nothing but
zeros. Differences of means are bootstrapped, studentized (Hall 1988): the percentiles alone are too narrow for some
hundred documents.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]
    Systems = Sequence[Floats]  # two: per cluster weighted sums of values, and sums of weights

SIGNIFICANT = 0.05  # two-sided
POWER = 0.8
MIN_CLUSTERS = 100  # below it intervals are too narrow to name a winner
FEW_CHANGED = 20  # documents; with fewer, a resample may draw next to none of them
UNSEEN = 0.25  # of a document; with .25 to 1 skewed means are covered 90 to 100 %, and .25 is the narrowest
NEXT_TO_NONE = 1e-9  # counts where no document differs; changes of rates are covered 93 to 97 % without more
LEAST_ERROR = 1e-12  # of a change that is the same in all documents


Span = tuple[float, float]  # the least and the greatest value that a row can have


class Estimate(NamedTuple):
    """A figure with its 95 % interval; `error` is the standard error."""

    value: float
    low: float
    high: float
    error: float


class Difference(NamedTuple):
    """The second system less the first, with its 95 % interval, standard error and two-sided p-value."""

    value: float
    low: float
    high: float
    error: float
    p: float


def cluster_codes(clusters: Sequence[str]) -> "Codes":
    """Number the clusters 0, 1, … in order of first appearance; int64, one per row."""
    import numpy as np

    codes: dict[str, int] = {}
    return np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.int64)


def weighted_sums(values: "Floats", weights: "Floats", codes: "Codes") -> "Floats":
    """Per cluster the sum of weight times value and the sum of weights: (clusters, 2). A NaN weighs nothing."""
    import numpy as np

    weights = np.where(np.isnan(values), 0.0, weights)
    clusters = int(codes.max()) + 1 if len(codes) else 0
    weighted = np.bincount(codes, weights=np.nan_to_num(values) * weights, minlength=clusters)
    return np.stack([weighted, np.bincount(codes, weights=weights, minlength=clusters)], axis=1)


def bootstrap(sums: "Floats", *, resamples: int, seed: int) -> "Floats":
    """Sums over clusters drawn with replacement: (clusters, k) becomes (resamples, k).

    All columns share the same draws, so that what is compared stays paired.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    clusters = len(sums)
    drawn = np.empty((resamples, sums.shape[1]))
    block = max(1, 4_000_000 // max(clusters, 1))  # draws at a time: 32 MB
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = rng.integers(0, clusters, (size, clusters)) + np.arange(size)[:, None] * clusters
        counts = np.bincount(picks.ravel(), minlength=size * clusters).reshape(size, clusters)
        drawn[start : start + size] = counts @ sums
    return drawn


def span_of(values: "Floats") -> Span:
    """What a row can have, by the values there are: from 0 to 1 at least."""
    import numpy as np

    known = values[~np.isnan(values)]
    return min(0.0, float(known.min(initial=0.0))), max(1.0, float(known.max(initial=1.0)))


def estimate(sums: "Floats", *, span: Span = (0.0, 1.0), odds: float = 1.0) -> Estimate | None:
    """A system's own rate or mean with Wilson's interval at its effective sample size; None where nothing was counted.

    That is how many independent rows would leave the same standard error: fewer than there are, where rows of one
    document are alike. The interval is skewed near an end, never of no width, and never beyond the `span`. `odds`: how
    many times as much a row that counts 1 weighs as one that counts 0; in an F1 twice.
    """
    if not sums[:, 1].sum():
        return None
    value, scatter = _linear(sums, span)
    low, high = _wilson(sums, span, odds, UNSEEN)
    width, start = span[1] - span[0], span[0]
    return Estimate(start + value * width, start + low * width, start + high * width, width * _norm(scatter))


def with_squares(sums: "Floats") -> "Floats":
    """Sums (clusters, 2) with the three products that a resample's own standard error takes: (clusters, 5)."""
    import numpy as np

    total, weight = sums.T
    return np.stack([total, weight, total * total, total * weight, weight * weight], axis=1)


def mean_change(change: "Floats", drawn: "Floats") -> Difference | None:
    """Change of a mean over the same rows by a studentized bootstrap; None where nothing was counted.

    `change`: `weighted_sums` of the rows' differences; `drawn`: the bootstrap of `with_squares(change)`. Not for
    changes in fewer documents than `FEW_CHANGED`.
    """
    import numpy as np

    if not change[:, 1].sum():
        return None
    clusters = int(np.count_nonzero(change[:, 1]))
    (value,), (error,) = _ratios(with_squares(change).sum(axis=0)[None], clusters)
    values, errors = _ratios(drawn, clusters)
    error, errors = max(error, LEAST_ERROR), np.maximum(errors, LEAST_ERROR)
    t = (values - value) / errors
    low, high = np.quantile(t, [SIGNIFICANT / 2, 1 - SIGNIFICANT / 2])
    tail = min(np.count_nonzero(t >= value / error), np.count_nonzero(t <= value / error))
    p = float(min(1.0, 2 * (tail + 1) / (len(t) + 1)))
    return Difference(float(value), float(value - high * error), float(value - low * error), float(error), p)


def _ratios(sums: "Floats", clusters: int) -> tuple["Floats", "Floats"]:
    """Ratios and their standard errors by linearization, from totals of `with_squares`: (n, 5) becomes (n,), (n,)."""
    import numpy as np

    total, weight, squares, products, weights = sums.T
    ratio = total / weight
    scatter = squares - 2 * ratio * products + ratio * ratio * weights
    return ratio, np.sqrt(np.maximum(scatter, 0) * clusters / max(clusters - 1, 1)) / weight


def rate_change(
    systems: "Systems", *, span: Span = (0.0, 1.0), odds: float = 1.0, unseen: float = NEXT_TO_NONE
) -> Difference | None:
    """Second less first of two rates, by Newcombe's method: from both `estimate` intervals and their correlation.

    Over the same rows, give it the rates of losses and of gains, so that answers that are all the same leave what so
    many rows can tell, and not an interval of no width. None where one of them counted nothing. The p-value is of the
    t-test on the documents' scatter. Means of values within a `span` may be given as well, with UNSEEN.
    """
    from scipy.stats import t

    first, second = systems
    if not first[:, 1].sum() or not second[:, 1].sum():
        return None
    width = span[1] - span[0]
    clusters = int(((first[:, 1] > 0) | (second[:, 1] > 0)).sum())
    (before, scatter_before), (after, scatter_after) = _linear(first, span), _linear(second, span)
    shared = float(scatter_before @ scatter_after) / max(_norm(scatter_before) * _norm(scatter_after), 1e-300)
    low_before, high_before = _wilson(first, span, odds, unseen)
    low_after, high_after = _wilson(second, span, odds, unseen)
    value, error = after - before, _norm(scatter_after - scatter_before)
    low = value - _side(after - low_after, high_before - before, shared)
    high = value + _side(high_after - after, before - low_before, shared)
    p = float(2 * t.sf(abs(value) / error, max(clusters - 1, 1))) if error else float(value == 0)
    return Difference(value * width, low * width, high * width, error * width, p)


def _side(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))


def _linear(sums: "Floats", span: Span = (0.0, 1.0)) -> tuple[float, "Floats"]:
    """The ratio as a share of the span, and each cluster's part in its error; their squares add up to the variance."""
    total, weight = sums.T
    total = (total - span[0] * weight) / (span[1] - span[0])
    value = float(total.sum() / weight.sum())
    clusters = int((weight > 0).sum())
    return value, (total - value * weight) / weight.sum() * (clusters / max(clusters - 1, 1)) ** 0.5


def _norm(scatter: "Floats") -> float:
    return math.sqrt(float(scatter @ scatter))


def _wilson(sums: "Floats", span: Span, odds: float, unseen: float) -> tuple[float, float]:
    """Wilson's 95 % interval as a share of the span, with Student's quantile for so many documents.

    The documents' scatter is reckoned as if there were so many `unseen` ones, half at each end: however alike they
    are, a few cannot tell that there is no other. Of all 0 in n documents the upper end is near 4/n, be there one row
    in each or ten. What it covers, `make bench NAME=gate` measures.

    Where some rows weigh more (`odds`), it is the interval of the plain share, carried over: at 0 or 1 all rows weigh
    alike, and their weights do not tell how far one that differs would move the figure.
    """
    import numpy as np

    right, weight = sums.T
    weight = weight - right + right / odds if odds != 1 else weight
    value, scatter = _linear(np.stack([right / odds, weight], axis=1), span)
    documents, alike = int((weight > 0).sum()), float(weight.sum() ** 2 / (weight @ weight))
    all_ = documents + unseen
    smooth = (documents * value + unseen / 2) / all_
    spread = documents * alike * float(scatter @ scatter) + unseen * (value**2 + (1 - value) ** 2) / 2
    effective = alike * all_ * smooth * (1 - smooth) / spread
    z = student(1 - SIGNIFICANT / 2, documents)
    middle = (value + z * z / 2 / effective) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(max(value * (1 - value), 0.0) / effective + (z / 2 / effective) ** 2)
    ends = max(min(middle - half, value), 0.0), min(max(middle + half, value), 1.0)
    low, high = (odds * end / (1 + (odds - 1) * end) for end in ends)
    return low, high


@cache
def student(level: float, clusters: int) -> float:
    """The quantile of Student's distribution for so many clusters."""
    from scipy.stats import t

    return float(t.ppf(level, max(clusters - 1, 1)))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test; `gained`, `lost`: rows that only the second, only the first, got."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for being several (Holm 1979): the chance of one false claim among them stays under 5 %."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = highest
    return adjusted


def detectable_mean(error: float, clusters: int, *, tests: int = 1, jump: float = 0.0, rows: int = 1) -> float:
    """The least true change that a test at 5 %, the first of so many by Holm, finds four times out of five.

    A gain comes from some rows that change by a `jump`, and adds as much to a row's variance: gain times jump.
    """
    widths = student(1 - SIGNIFICANT / 2 / tests, clusters) + student(POWER, clusters)
    added = widths * widths * jump / rows
    return (added + math.sqrt(added * added + 4 * widths * widths * error * error)) / 2


def detectable_rate(
    gained: int, lost: int, failed: int, *, rows: int, error: float, clusters: int, tests: int = 1
) -> float:
    """The same of a rate over the same rows, for the exact test of McNemar (Connor 1987).

    A gain changes rows, and so adds to the scatter: what is seen of it now, where next to nothing changed, would tell
    of too small a gain. Of the rows that `failed` in the first system so many are right in the second, beside the
    `gained` and `lost` ones that cancel out, of which a gain mends its share, too.
    """
    from scipy.optimize import brentq

    changed = gained + lost - (gained - lost) ** 2 / rows
    alike = max(1.0, error * error * rows * rows / changed) if changed > 0 else 1.0  # the design effect
    effective = rows / alike
    beside = 2 * min(gained, lost) / rows
    added = 1 - beside * rows / max(failed, 1)
    claim, found = student(1 - SIGNIFICANT / 2 / tests, clusters), student(POWER, clusters)

    def missing(gain: float) -> float:
        turned = max(beside + gain * added, gain)
        seen = (gain - 1 / effective) * math.sqrt(effective)  # less a row: the exact test goes in whole ones
        return claim * math.sqrt(turned) + found * math.sqrt(turned - gain * gain) - seen

    return float(brentq(missing, 1 / effective, 1.0)) if missing(1.0) < 0 else 1.0
