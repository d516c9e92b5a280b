"""Two systems on the same rows: each metric's difference, its interval, and what may be said about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tasks.metrics import METRICS, Metric
from tasks.metrics.scores import Scores
from tasks.statistics import (
    MIN_CLUSTERS,
    SIGNIFICANT,
    Difference,
    Estimate,
    bootstrap,
    cluster_codes,
    detectable_mean,
    detectable_rate,
    estimate,
    holm,
    mcnemar,
    mean_change,
    rate,
    rate_change,
    weighted_sums,
    with_squares,
)

if TYPE_CHECKING:
    import numpy as np

    from tasks.statistics import Codes, Floats, Span


def compare(
    first: Scores,
    second: Scores,
    names: tuple[str, str],
    *,
    resamples: int,
    seed: int,
    metrics: Iterable[str] = METRICS,
) -> list[dict[str, Any]]:
    """One entry per metric, in the order given; the two systems were scored on the same rows.

    The systems' figures stand under their `names`; `difference` is the second's less the first's. A metric is compared
    on the rows that count for both systems, or, where the system itself decides which rows count (precision of its
    refusals, say), on each one's own. Figures are rounded to 6 digits.
    """
    import numpy as np

    codes = cluster_codes(first.documents)
    pairs = [_Pair.of(name, first, second, codes) for name in metrics]
    drawn = bootstrap(np.concatenate([pair.sums for pair in pairs], axis=1), resamples=resamples, seed=seed)
    entries = []
    for pair in pairs:
        draws, drawn = drawn[:, : pair.sums.shape[1]], drawn[:, pair.sums.shape[1] :]
        figures = pair.figures(draws)
        change = pair.change(draws)
        entries.append(
            {
                "name": pair.name,
                "label": pair.metric.label,
                "group": pair.metric.group,
                "direction": pair.metric.direction,
                "primary": pair.metric.primary,
                "rows": pair.rows,
                "documents": pair.documents,
                **{
                    name: _figure(figure, values)
                    for name, figure, values in zip(names, figures, pair.values, strict=True)
                },
                "difference": change and _change(change, pair),
            }
        )
    _judge(entries)
    return entries


@dataclass(frozen=True)
class _Pair:
    """Both systems' values of one metric, (rows,), NaN where a row does not count, and their weights."""

    name: str
    values: tuple["Floats", "Floats"]
    weights: tuple["Floats", "Floats"]
    codes: "Codes"

    @classmethod
    def of(cls, name: str, first: Scores, second: Scores, codes: "Codes") -> "_Pair":
        import numpy as np

        values = first.columns[name], second.columns[name]
        if METRICS[name].same_rows:
            both = ~np.isnan(values[0]) & ~np.isnan(values[1])
            values = np.where(both, values[0], np.nan), np.where(both, values[1], np.nan)
        return cls(name, values, (first.weights(name), second.weights(name)), codes)

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
    def sums(self) -> "Floats":
        """What is to be drawn: of a mean both systems' sums and the change's, (documents, 9); of a rate nothing."""
        import numpy as np

        first, second = self.of_each
        if not self.is_mean:
            return first[:, :0]
        change = np.stack([second[:, 0] - first[:, 0], first[:, 1]], axis=1)
        return np.concatenate([first, second, with_squares(change)], axis=1)

    @property
    def span(self) -> "Span":
        """The least and the greatest value there is, and at least 0 to 1."""
        import numpy as np

        values = np.concatenate([values[rows] for values, rows in zip(self.values, self.counted, strict=True)])
        return float(values.min(initial=0.0)), float(values.max(initial=1.0))

    def figures(self, draws: "Floats") -> list[Estimate | None]:
        if self.is_mean:
            return [estimate(sums, draws[:, at : at + 2]) for sums, at in zip(self.of_each, (0, 2), strict=True)]
        return [rate(sums) for sums in self.of_each]

    def change(self, draws: "Floats") -> Difference | None:
        if self.is_mean:
            return mean_change(self.of_each, draws[:, 4:], span=self.span)
        return rate_change(self.of_each)

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


def _figure(figure: Estimate | None, values: "Floats") -> dict[str, Any]:
    import numpy as np

    told: dict[str, Any] = {"rows": int((~np.isnan(values)).sum()), "value": None, "low": None, "high": None}
    if figure:
        told |= {"value": round(figure.value, 6), "low": round(figure.low, 6), "high": round(figure.high, 6)}
    return told


def _change(change: Difference, pair: _Pair) -> dict[str, Any]:
    told: dict[str, Any] = {
        "value": round(change.value, 6),
        "low": round(change.low, 6),
        "high": round(change.high, 6),
        "error": round(change.error, 6),
        "p": round(change.p, 6),
    }
    if pair.metric.binary and pair.metric.same_rows:
        told |= pair.turned
        told["mcnemar_p"] = round(mcnemar(told["gained"], told["lost"]), 6)
        told["p"] = max(told["p"], told["mcnemar_p"])
    elif pair.is_mean:
        told["jump"] = round(pair.jump, 6)
    told["detectable"] = detectable(told, rows=pair.rows, documents=pair.documents)
    return told


def detectable(change: Mapping[str, Any], *, rows: int, documents: int, tests: int = 1) -> float:
    """The true change that would be shown four times in five, as the first of so many tests; 6 digits."""
    shared = {"error": change["error"], "clusters": documents, "tests": tests}
    if "gained" in change:
        return round(detectable_rate(*(change[name] for name in ("gained", "lost", "failed")), rows=rows, **shared), 6)
    return round(detectable_mean(jump=change.get("jump", 0.0), rows=rows, **shared), 6)


def _judge(entries: list[dict[str, Any]]) -> None:
    """Give each entry a verdict; of the primary metrics, with p-values corrected for being several."""
    judged = {e["name"]: e["difference"]["p"] for e in entries if e["primary"] and e["difference"]}
    for name, p in holm(judged).items():
        next(e for e in entries if e["name"] == name)["difference"]["p_holm"] = round(p, 6)
    for entry in entries:
        entry["verdict"] = _verdict(entry)


def _verdict(entry: dict[str, Any]) -> str:
    change = entry["difference"]
    if change is None:
        return "not scored"
    if entry["direction"] == "none":
        return "diagnostic"
    if entry["documents"] < MIN_CLUSTERS:
        return "inconclusive"
    apart = change["low"] > 0 or change["high"] < 0
    if not apart or change.get("p_holm", change["p"]) >= SIGNIFICANT:
        return "no significant difference"
    return "better" if (change["value"] > 0) == (entry["direction"] == "higher") else "worse"
