"""How likely the rules promote what is truly better, by the number of documents: told before anything is trained.

A change is taken as normal about its true value, with a standard error that falls with the root of the documents. From
a comparison that exists it is taken as measured, rows of one document alike as they are; before the first one by
`ASSUMED`. Rules are taken as independent, which tests compare with the simulated gate.
"""

import math
from collections.abc import Callable, Collection, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

from tasks.evaluation.gating.compare import uncertainty
from tasks.evaluation.gating.decision import Comparison
from tasks.evaluation.gating.rules import Rule
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS, POWER, SIGNIFICANT

GAIN = 0.1  # one answer in ten: the true gain that is asked about
MOST = 10_000_000  # documents; a rule that so many do not show is shown by none
ROWS = 2.5  # of a document, before there is a dataset
ALIKE = 0.05  # assumed correlation of the changes within a document
# Assumed before there are scores, of two systems that are equally good: the standard deviation of a row's change, and
# the share of the rows that count, where a quarter has no answer. 18 % of the answers turn right or wrong, 5 % into
# hallucinations or back.
ASSUMED = {
    "correct": (0.42, 0.75),
    "faithfulness": (0.2, 0.7),
    "hallucination": (0.23, 1.0),
    "abstention_f1": (0.27, 0.28),
    "over_refusal": (0.22, 0.75),
}
OTHER = {"rate": (0.4, 0.75), "mean": (0.25, 0.75)}


class Spread(NamedTuple):
    """By how much chance moves a change, on so many documents and rows on which the metric counts."""

    error: float
    documents: float
    rows: float
    jump: float  # by how much a row changes that changes
    by_chance: float = 0.0  # the variance of `documents`, where it is not counted

    def on(self, factor: float) -> "Spread":
        """On so many times as many documents."""
        more = {name: getattr(self, name) * factor for name in ("documents", "rows", "by_chance")}
        return self._replace(error=self.error / math.sqrt(factor), **more)


class Limit(NamedTuple):
    """A rule, in how many of a hundred promotions it would be shown, as a share, and the margin that could be."""

    rule: Rule
    chance: float
    margin: float | None


class Power(NamedTuple):
    """How often a true `gain` in `metric` is promoted where all else stays: `chance`, on `documents` and `rows`.

    Four times in five from `needed` documents, None if no number is enough. `limits` are the rules that hold it back
    on the documents that there are, the worst first. `assumed`: no comparison exists from which it could be told.
    """

    metric: str | None
    gain: float
    documents: int | None
    rows: int | None
    chance: float | None
    needed: int | None
    needed_rows: int | None
    limits: tuple[Limit, ...]
    assumed: bool


def power(
    rules: Sequence[Rule],
    better: Literal["any", "all"],
    comparisons: Sequence[Comparison] | None = None,
    *,
    measured: bool = True,
    size: tuple[int, int] | None = None,
    gain: float = GAIN,
) -> Power:
    """The power of rules against one system, such as the champion; `size`: documents and rows to be evaluated on.

    `comparisons`: two systems on questions of this kind, from which it is taken how many of these count, and if they
    are `measured` against this very system, the spread of each change: two that differ much tell of no others.
    """
    claims = [rule for rule in rules if rule.must == "better"]
    gains = claims if better == "all" else claims[:1]
    tests = len(claims) if better == "any" else 1
    compared = {each.name: each for each in comparisons or ()}
    documents = max((each.documents for each in compared.values()), default=0)
    measured = measured and documents >= MIN_CLUSTERS  # of fewer, intervals tell more of the few than of the spread
    rows_each = size[1] / size[0] if size else _rows_each(compared.values(), documents)
    asked = [*gains, *(rule for rule in rules if rule.must == "not_worse")]
    asked = [rule for rule in asked if rule.must == "better" or rule.metric not in {each.metric for each in gains}]
    spreads = [_spread(compared.get(rule.metric), rule.metric, documents, rows_each, measured) for rule in asked]

    def chances(count: float) -> list[float]:
        return [_chance(rule, spread.on(count), gain, tests) for rule, spread in zip(asked, spreads, strict=True)]

    needed = _least(lambda count: math.prod(chances(count)) >= POWER)
    limits: tuple[Limit, ...] = ()
    if size:
        alone = POWER ** (1 / max(len(asked), 1))
        limits = tuple(
            Limit(rule, chance, _margin(spread.on(size[0]), alone) if rule.must == "not_worse" else None)
            for rule, spread, chance in zip(asked, spreads, chances(size[0]), strict=True)
            if chance < alone
        )
    return Power(
        metric=gains[0].metric if gains else None,
        gain=gain,
        documents=size[0] if size else None,
        rows=size[1] if size else None,
        chance=math.prod(chances(size[0])) if size else None,
        needed=needed,
        needed_rows=needed and math.ceil(needed * rows_each),
        limits=tuple(sorted(limits, key=lambda limit: limit.chance)),
        assumed=not (compared and measured),
    )


def _chance(rule: Rule, spread: Spread, gain: float, tests: int) -> float:
    """How likely the rule is shown: a gain of that size, or a margin where nothing changed."""
    normal = NormalDist()
    above = spread.documents - MIN_CLUSTERS
    enough = normal.cdf(above / math.sqrt(spread.by_chance)) if spread.by_chance else float(above >= 0)
    if rule.must == "not_worse":
        return enough * normal.cdf((rule.margin or 0.0) / spread.error - normal.inv_cdf(1 - SIGNIFICANT / 2))
    error = math.hypot(spread.error, math.sqrt(gain * spread.jump / spread.rows))
    return enough * normal.cdf(gain / error - normal.inv_cdf(1 - SIGNIFICANT / 2 / tests))


def _margin(spread: Spread, chance: float) -> float | None:
    """The least margin that would be shown so often, rounded up to a hundredth; None on too few documents."""
    if spread.documents < MIN_CLUSTERS:
        return None
    normal = NormalDist()
    return math.ceil(100 * spread.error * (normal.inv_cdf(1 - SIGNIFICANT / 2) + normal.inv_cdf(chance))) / 100


def _spread(compared: Comparison | None, metric: str, documents: int, rows_each: float, measured: bool) -> Spread:
    """Of one document: as measured, else as assumed."""
    change = compared.difference if compared and compared.rows else None
    if compared and change and measured:
        found = Spread(uncertainty(change), compared.documents, compared.rows, change.jump or 1.0)
        return found.on(1 / documents)
    deviation, share = ASSUMED.get(metric) or OTHER[METRICS[metric].kind]
    rows, touched = rows_each * share, _touched(rows_each, share)
    if compared and change:
        rows, touched = compared.rows / documents, compared.documents / documents
    alike = 1 + max(rows / touched - 1, 0.0) * ALIKE
    return Spread(deviation * math.sqrt(alike / rows), touched, rows, 1.0, touched * (1 - touched))


def _touched(rows_each: float, share: float) -> float:
    """The share of the documents in which a row counts, of 1 to 2n - 1 rows each if n is the mean."""
    most, other = max(2 * rows_each - 1, 1.0), 1 - share
    return 1 - other * (1 - other**most) / (most * share) if share < 1 else 1.0


def _rows_each(compared: Collection[Comparison], documents: int) -> float:
    return max((each.rows for each in compared), default=0) / documents if documents else ROWS


def _least(enough: Callable[[int], bool]) -> int | None:
    """The least number of documents that is enough, to one in a hundred."""
    low, high = 0, MIN_CLUSTERS
    while not enough(high):
        if high > MOST:
            return None
        low, high = high, 2 * high
    while high - low > max(high // 100, 1):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
