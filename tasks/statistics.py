"""Error bars: a bootstrap over source documents, exact tests for rates, and when to say nothing.

Rows from one document are alike, so documents are resampled, not rows (Miller 2024, "Adding Error Bars to Evals").
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

SIGNIFICANT = 0.05  # two-sided
MIN_CLUSTERS = 100  # below it intervals are too narrow to name a winner
POWER = 0.8
DETECTABLE = 2.8  # standard errors: z(.975) + z(.80), a two-sided test at 5 % with 80 % power


class Estimate(NamedTuple):
    """A figure with its 95 % interval; `error` is the standard error."""

    value: float
    low: float
    high: float
    error: float


class Difference(NamedTuple):
    """Tuned less base, with its 95 % interval, standard error and two-sided p-value."""

    value: float
    low: float
    high: float
    error: float
    p: float

    @property
    def detectable(self) -> float:
        """The least true difference that would be found four times out of five."""
        return DETECTABLE * self.error


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


def estimate(sums: "Floats", drawn: "Floats") -> Estimate | None:
    """The ratio of two columns of sums; None where nothing was counted."""
    if not sums[:, 1].sum():
        return None
    low, high, error = _spread(_ratio(drawn))
    return Estimate(float(sums[:, 0].sum() / sums[:, 1].sum()), low, high, error)


def difference(base: "Floats", tuned: "Floats", drawn_base: "Floats", drawn_tuned: "Floats") -> Difference | None:
    """Ratio of tuned less ratio of base, over the same draws; None where one of them counted nothing."""
    import numpy as np

    if not base[:, 1].sum() or not tuned[:, 1].sum():
        return None
    value = tuned[:, 0].sum() / tuned[:, 1].sum() - base[:, 0].sum() / base[:, 1].sum()
    drawn = _ratio(drawn_tuned) - _ratio(drawn_base)
    drawn = drawn[~np.isnan(drawn)]
    low, high, error = _spread(drawn)
    tail = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return Difference(float(value), low, high, error, min(1.0, float(2 * (tail + 1) / (len(drawn) + 1))))


def _ratio(drawn: "Floats") -> "Floats":
    import numpy as np

    counted = drawn[:, 1] > 0
    return np.where(counted, drawn[:, 0] / np.where(counted, drawn[:, 1], 1.0), np.nan)


def _spread(drawn: "Floats") -> tuple[float, float, float]:
    import numpy as np

    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high), float(np.nanstd(drawn))


def detectable(error: float, clusters: int, *, tests: int = 1) -> float:
    """The least true difference that a two-sided test at 5 %, of so many (Holm), would find four times out of five."""
    from scipy.stats import t

    degrees = max(clusters - 1, 1)
    return float(error * (t.ppf(1 - SIGNIFICANT / 2 / tests, degrees) + t.ppf(POWER, degrees)))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate; of no failure in n, the upper end is near 3/n."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test; `gained`, `lost`: rows that only the tuned, only the base, got."""
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
