"""Two systems on the same rows: each metric's difference, its interval, and what may be said about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.engine.errors import UserError
from tasks.evaluation.gating.decision import Called, Change, Comparison, Figure
from tasks.evaluation.metrics import METRICS, Metric
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import (
    FEW_CHANGED,
    MIN_CLUSTERS,
    NEXT_TO_NONE,
    SIGNIFICANT,
    UNSEEN,
    Difference,
    Estimate,
    Span,
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

if TYPE_CHECKING:
    import numpy as np

    from tasks.evaluation.statistics import Codes, Floats

NORMAL = 1.96  # standard errors on each side of a 95 % interval


def require_same_rows(first: Scores, second: Scores, names: tuple[object, object]) -> None:
    """Raise UserError unless both score the same rows, of the same documents: error bars count documents."""
    both = f"{names[0]} and {names[1]}"
    if first.ids != second.ids:
        raise UserError(f"{both} score different rows", "score both on the same rows: `reground retrain` does")
    if first.documents != second.documents:
        places = zip(first.ids, first.documents, second.documents, strict=True)
        row, one, other = next(place for place in places if place[1] != place[2])
        raise UserError(
            f"{both} take the rows from different documents: row {row} from {one!r} and from {other!r}",
            "score both on the same rows: `reground retrain` does",
        )


def compare(
    first: Scores,
    second: Scores,
    names: tuple[str, str],
    *,
    resamples: int,
    seed: int,
    metrics: Iterable[str] = METRICS,
) -> list[Comparison]:
    """Compare two systems, scored on the same rows, metric by metric, in the order given.

    The figures stand under the systems' `names`; the difference is the second's less the first's. A metric is compared
    on the rows that count for both systems; where the system itself decides which rows count (`same_rows` of the
    metric), on each one's own. Numbers are rounded to 6 digits.
    """
    import numpy as np

    codes = cluster_codes(first.documents)
    pairs = [_Pair.read(name, first, second, codes) for name in metrics]
    drawn = bootstrap(np.concatenate([pair.sums for pair in pairs], axis=1), resamples=resamples, seed=seed)
    differences: list[tuple[list[Estimate | None], Change | None]] = []
    for pair in pairs:
        draws, drawn = drawn[:, : pair.sums.shape[1]], drawn[:, pair.sums.shape[1] :]
        difference = pair.change(draws)
        differences.append((pair.figures(), difference and _change(difference, pair)))
    changes = _corrected([(pair.metric, change) for pair, (_, change) in zip(pairs, differences, strict=True)])
    return [
        Comparison(
            name=pair.name,
            label=pair.metric.label,
            group=pair.metric.group,
            direction=pair.metric.direction,
            primary=pair.metric.primary,
            rows=pair.rows,
            documents=pair.documents,
            figures={
                name: _figure(figure, len(rows), scored)
                for name, figure, rows, scored in zip(names, figures, pair.counted, pair.scored, strict=True)
            },
            difference=change,
            verdict=_called(change, pair),
        )
        for pair, (figures, _), change in zip(pairs, differences, changes, strict=True)
    ]


def uncertainty(change: Change) -> float:
    """The standard error; or that of the interval's width, which is the better estimate near a rate of 0."""
    return max(change.error, (change.high - change.low) / 2 / NORMAL)


def detectable(change: Change, *, rows: int, documents: int, tests: int = 1) -> float:
    """The true change that would be shown four times in five, as the first of so many tests; 6 digits."""
    if change.gained is not None and change.lost is not None and change.failed is not None:
        turned = (change.gained, change.lost, change.failed)
        least = detectable_rate(*turned, rows=rows, error=change.error, clusters=documents, tests=tests)
    else:
        least = detectable_mean(uncertainty(change), documents, tests=tests, jump=change.jump or 0.0, rows=rows)
    return round(least, 6)


def _figure(figure: Estimate | None, rows: int, scored: int) -> Figure:
    if not figure:
        return Figure(rows=rows, scored=scored)
    value, low, high = (round(each, 6) for each in (figure.value, figure.low, figure.high))
    return Figure(rows=rows, scored=scored, value=value, low=low, high=high)


def _change(difference: Difference, pair: "_Pair") -> Change:
    change = Change(**{name: round(each, 6) for name, each in difference._asdict().items()})
    if pair.metric.kind == "rate" and pair.metric.same_rows:
        turned = pair.turned
        mcnemar_p = round(mcnemar(turned["gained"], turned["lost"]), 6)
        change = change.model_copy(update={**turned, "mcnemar_p": mcnemar_p, "p": max(change.p, mcnemar_p)})
    elif pair.is_mean:
        change = change.model_copy(update={"jump": round(pair.jump, 6)})
    return change.model_copy(update={"detectable": detectable(change, rows=pair.rows, documents=pair.documents)})


def _corrected(changes: list[tuple[Metric, Change | None]]) -> list[Change | None]:
    """The changes, those of primary metrics with p-values corrected for how many primary metrics there are (Holm)."""
    primary = {str(at): change.p for at, (metric, change) in enumerate(changes) if metric.primary and change}
    corrected = holm(primary)
    return [
        change.model_copy(update={"p_holm": round(corrected[str(at)], 6)})
        if change and str(at) in corrected
        else change
        for at, (_, change) in enumerate(changes)
    ]


def _called(change: Change | None, pair: "_Pair") -> Called:
    if change is None:
        return "not scored"
    if pair.metric.direction == "none":
        return "diagnostic"
    if pair.documents < MIN_CLUSTERS:
        return "inconclusive"
    p = change.p if change.p_holm is None else change.p_holm
    if (change.low <= 0 <= change.high) or p >= SIGNIFICANT:
        return "no significant difference"
    return "better" if (change.value > 0) == (pair.metric.direction == "higher") else "worse"


@dataclass(frozen=True)
class _Pair:
    """One metric of both systems: its values, (rows,), NaN where a row does not count, and their weights."""

    name: str
    scored: tuple[int, int]  # rows that each system by itself is scored on
    values: tuple["Floats", "Floats"]
    weights: tuple["Floats", "Floats"]
    codes: "Codes"

    @classmethod
    def read(cls, name: str, first: Scores, second: Scores, codes: "Codes") -> "_Pair":
        import numpy as np

        values = first.columns[name], second.columns[name]
        scored = int((~np.isnan(values[0])).sum()), int((~np.isnan(values[1])).sum())
        if METRICS[name].same_rows:
            both = ~np.isnan(values[0]) & ~np.isnan(values[1])
            values = np.where(both, values[0], np.nan), np.where(both, values[1], np.nan)
        return cls(name, scored, values, (first.weights(name), second.weights(name)), codes)

    @property
    def metric(self) -> Metric:
        return METRICS[self.name]

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean of differences row by row, which can be bootstrapped as one; else it is a rate."""
        return self.metric.kind == "mean" and self.metric.same_rows and not self.metric.weight

    @cached_property
    def counted(self) -> "list[np.ndarray]":
        """The numbers of the rows that count, for each system."""
        import numpy as np

        return [np.flatnonzero(~np.isnan(values)) for values in self.values]

    @property
    def rows(self) -> int:
        return min(map(len, self.counted))

    @property
    def documents(self) -> int:
        import numpy as np

        return min(len(np.unique(self.codes[rows])) for rows in self.counted)

    @cached_property
    def of_each(self) -> "list[Floats]":
        """Each system's sums by document, (documents, 2)."""
        return [weighted_sums(*each, self.codes) for each in zip(self.values, self.weights, strict=True)]

    @cached_property
    def losses_and_gains(self) -> "list[Floats]":
        """The sums of what each row lost and of what it gained, as `of_each`."""
        import numpy as np

        change = self.values[1] - self.values[0]
        return [weighted_sums(np.maximum(part, 0), self.weights[0], self.codes) for part in (-change, change)]

    @cached_property
    def sums(self) -> "Floats":
        """What is resampled: of a mean the sums of its change, (documents, 5); of a rate nothing."""
        return with_squares(self.differences) if self.is_mean else self.of_each[0][:, :0]

    @property
    def differences(self) -> "Floats":
        """The sums of the differences row by row, (documents, 2)."""
        import numpy as np

        first, second = self.of_each
        return np.stack([second[:, 0] - first[:, 0], first[:, 1]], axis=1)

    @cached_property
    def span(self) -> Span:
        import numpy as np

        return span_of(np.concatenate(self.values)) if self.metric.kind == "mean" else (0.0, 1.0)

    def figures(self) -> list[Estimate | None]:
        return [estimate(sums, span=self.span, odds=self.metric.odds) for sums in self.of_each]

    def change(self, draws: "Floats") -> Difference | None:
        if self.is_mean and (self.differences[:, 0] != 0).sum() >= FEW_CHANGED:
            return mean_change(self.differences, draws)
        unseen = NEXT_TO_NONE if self.metric.kind == "rate" else UNSEEN
        if self.metric.same_rows and not self.metric.weight:
            return rate_change(self.losses_and_gains, span=(0.0, self.span[1] - self.span[0]), unseen=unseen)
        return rate_change(self.of_each, span=self.span, odds=self.metric.odds, unseen=unseen)

    @property
    def jump(self) -> float:
        """By how much a row changes that changes: the mean square of the changes over their mean."""
        import numpy as np

        first, second = self.values
        changes = np.abs(second - first)[self.counted[0]]
        return float((changes @ changes) / max(changes.sum(), 1e-12))

    @property
    def turned(self) -> dict[str, int]:
        """Rows that got a higher value, that got a lower one, and those that failed in the first system."""
        first, second = self.values
        worst = 1 if self.metric.direction == "lower" else 0
        return {
            "gained": int((second > first).sum()),
            "lost": int((second < first).sum()),
            "failed": int((first == worst).sum()),
        }
