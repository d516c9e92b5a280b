"""Two systems on the same rows: each metric's difference, its interval, and what may be said about it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasks.metrics import METRICS, Metric
from tasks.metrics.scores import Scores
from tasks.statistics import (
    MIN_CLUSTERS,
    SIGNIFICANT,
    Difference,
    bootstrap,
    cluster_codes,
    difference,
    estimate,
    holm,
    mcnemar,
    weighted_sums,
    wilson,
)

if TYPE_CHECKING:
    from tasks.statistics import Floats


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
    pairs = {name: _columns(name, METRICS[name], first, second) for name in metrics}
    sums = [weighted_sums(*column, codes) for pair in pairs.values() for column in pair]
    drawn = bootstrap(np.concatenate(sums, axis=1), resamples=resamples, seed=seed)
    entries = []
    for position, (name, pair) in enumerate(pairs.items()):
        metric = METRICS[name]
        of_first, of_second = sums[2 * position], sums[2 * position + 1]
        draws = drawn[:, 4 * position : 4 * position + 4]
        (first_values, _), (second_values, _) = pair
        figures = estimate(of_first, draws[:, :2]), estimate(of_second, draws[:, 2:])
        change = difference(of_first, of_second, draws[:, :2], draws[:, 2:])
        counted = [np.flatnonzero(~np.isnan(values)) for values in (first_values, second_values)]
        entries.append(
            {
                "name": name,
                "label": metric.label,
                "group": metric.group,
                "direction": metric.direction,
                "primary": metric.primary,
                "rows": min(map(len, counted)),
                "documents": min(len(np.unique(codes[rows])) for rows in counted),
                names[0]: _figure(figures[0], first_values, metric),
                names[1]: _figure(figures[1], second_values, metric),
                "difference": change and _change(change, metric, first_values, second_values),
            }
        )
    _judge(entries)
    return entries


def _columns(
    name: str, metric: Metric, first: Scores, second: Scores
) -> tuple[tuple["Floats", "Floats"], tuple["Floats", "Floats"]]:
    """Values and weights of each system; where only rows that count for both count, NaN on all others."""
    import numpy as np

    values = first.columns[name], second.columns[name]
    if metric.same_rows:
        both = ~np.isnan(values[0]) & ~np.isnan(values[1])
        values = np.where(both, values[0], np.nan), np.where(both, values[1], np.nan)
    return (values[0], first.weights(name)), (values[1], second.weights(name))


def _figure(figure: Any, values: "Floats", metric: Metric) -> dict[str, Any]:
    import numpy as np

    counted = values[~np.isnan(values)]
    told: dict[str, Any] = {"rows": len(counted), "value": None, "low": None, "high": None}
    if figure:
        told |= {"value": round(figure.value, 6), "low": round(figure.low, 6), "high": round(figure.high, 6)}
    if metric.binary and not metric.weight and len(counted):
        told["wilson"] = [round(end, 6) for end in wilson(int(counted.sum()), len(counted))]
    return told


def _change(change: Difference, metric: Metric, first: "Floats", second: "Floats") -> dict[str, Any]:
    told = {
        "value": round(change.value, 6),
        "low": round(change.low, 6),
        "high": round(change.high, 6),
        "error": round(change.error, 6),
        "detectable": round(change.detectable, 6),
        "p": round(change.p, 6),
    }
    if metric.binary and metric.same_rows:
        gained, lost = int((second > first).sum()), int((second < first).sum())
        exact = mcnemar(gained, lost)
        told |= {"gained": gained, "lost": lost, "mcnemar_p": round(exact, 6), "p": round(max(change.p, exact), 6)}
    return told


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
