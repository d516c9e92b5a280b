"""One metric of two systems on the same rows: what counts, what each had, and what changed."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.evaluation.metrics import METRICS, Metric
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import (
    FEW_CHANGED,
    Difference,
    Estimate,
    estimate,
    mean_change,
    rate,
    rate_change,
    weighted_sums,
    with_squares,
)

if TYPE_CHECKING:
    import numpy as np

    from tasks.evaluation.statistics import Codes, Floats


@dataclass(frozen=True)
class Pair:
    """Both systems' values of one metric, (rows,), NaN where a row does not count, and their weights."""

    name: str
    scored: tuple[int, int]  # rows that each system by itself is scored on
    values: tuple["Floats", "Floats"]
    weights: tuple["Floats", "Floats"]
    codes: "Codes"

    @classmethod
    def of(cls, name: str, first: Scores, second: Scores, codes: "Codes") -> "Pair":
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
        return not self.metric.binary and self.metric.same_rows and not self.metric.weight

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
        """What is to be drawn: of a mean both systems' sums and the change's, (documents, 9); of a rate nothing."""
        import numpy as np

        first, second = self.of_each
        if not self.is_mean:
            return first[:, :0]
        return np.concatenate([first, second, with_squares(self.differences)], axis=1)

    @property
    def differences(self) -> "Floats":
        """The sums of the differences row by row, (documents, 2)."""
        import numpy as np

        first, second = self.of_each
        return np.stack([second[:, 0] - first[:, 0], first[:, 1]], axis=1)

    @property
    def most(self) -> float:
        """The most that a row can lose or gain, by the values there are; at least 1."""
        import numpy as np

        values = np.concatenate([values[rows] for values, rows in zip(self.values, self.counted, strict=True)])
        return float(values.max(initial=1.0) - values.min(initial=0.0))

    def figures(self, draws: "Floats") -> list[Estimate | None]:
        if self.is_mean:
            return [estimate(sums, draws[:, at : at + 2]) for sums, at in zip(self.of_each, (0, 2), strict=True)]
        return [rate(sums, odds=self.metric.odds) for sums in self.of_each]

    def change(self, draws: "Floats") -> Difference | None:
        if self.is_mean and (self.differences[:, 0] != 0).sum() >= FEW_CHANGED:
            return mean_change(self.differences, draws[:, 4:])
        if self.metric.same_rows and not self.metric.weight:
            return rate_change(self.losses_and_gains, span=(0.0, self.most))
        return rate_change(self.of_each, odds=self.metric.odds)

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
