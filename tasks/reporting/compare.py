"""Base against tuned: each metric's difference, its interval, and what may be said about it."""

from typing import TYPE_CHECKING, Any

from tasks.metrics import METRICS, Metric
from tasks.metrics.scores import Scores
from tasks.reporting.figures import signed
from tasks.statistics import (
    MIN_CLUSTERS,
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

SIGNIFICANT = 0.05


def compare(base: Scores, tuned: Scores, *, resamples: int, seed: int, margin: float) -> list[dict[str, Any]]:
    """One entry per metric of METRICS, in its order; both systems were scored on the same rows.

    A metric is compared on the rows that count for both systems, or, where the system itself decides which rows
    count (precision of its refusals, say), on each one's own. Figures are rounded to 6 digits.
    """
    import numpy as np

    codes = cluster_codes(base.documents)
    pairs = {name: _columns(name, metric, base, tuned) for name, metric in METRICS.items()}
    sums = [weighted_sums(*column, codes) for pair in pairs.values() for column in pair]
    drawn = bootstrap(np.concatenate(sums, axis=1), resamples=resamples, seed=seed)
    entries = []
    for position, (name, metric) in enumerate(METRICS.items()):
        of_base, of_tuned = sums[2 * position], sums[2 * position + 1]
        draws = drawn[:, 4 * position : 4 * position + 4]
        (base_values, _), (tuned_values, _) = pairs[name]
        figures = estimate(of_base, draws[:, :2]), estimate(of_tuned, draws[:, 2:])
        change = difference(of_base, of_tuned, draws[:, :2], draws[:, 2:])
        counted = [np.flatnonzero(~np.isnan(values)) for values in (base_values, tuned_values)]
        entries.append(
            {
                "name": name,
                "label": metric.label,
                "group": metric.group,
                "direction": metric.direction,
                "primary": metric.primary,
                "rows": min(map(len, counted)),
                "documents": min(len(np.unique(codes[rows])) for rows in counted),
                "base": _figure(figures[0], base_values, metric),
                "tuned": _figure(figures[1], tuned_values, metric),
                "difference": change and _change(change, metric, base_values, tuned_values),
            }
        )
    _judge(entries, margin)
    return entries


def _columns(
    name: str, metric: Metric, base: Scores, tuned: Scores
) -> tuple[tuple["Floats", "Floats"], tuple["Floats", "Floats"]]:
    """Values and weights of base and of tuned; where only rows that count for both count, NaN on all others."""
    import numpy as np

    values = base.columns[name], tuned.columns[name]
    if metric.same_rows:
        both = ~np.isnan(values[0]) & ~np.isnan(values[1])
        values = np.where(both, values[0], np.nan), np.where(both, values[1], np.nan)
    return (values[0], base.weights(name)), (values[1], tuned.weights(name))


def _figure(figure: Any, values: "Floats", metric: Metric) -> dict[str, Any]:
    import numpy as np

    counted = values[~np.isnan(values)]
    told: dict[str, Any] = {"rows": len(counted), "value": None, "low": None, "high": None}
    if figure:
        told |= {"value": round(figure.value, 6), "low": round(figure.low, 6), "high": round(figure.high, 6)}
    if metric.binary and not metric.weight and len(counted):
        told["wilson"] = [round(end, 6) for end in wilson(int(counted.sum()), len(counted))]
    return told


def _change(change: Difference, metric: Metric, base: "Floats", tuned: "Floats") -> dict[str, Any]:
    told = {
        "value": round(change.value, 6),
        "low": round(change.low, 6),
        "high": round(change.high, 6),
        "detectable": round(change.detectable, 6),
        "p": round(change.p, 6),
    }
    if metric.binary and metric.same_rows:
        gained, lost = int((tuned > base).sum()), int((tuned < base).sum())
        exact = mcnemar(gained, lost)
        told |= {"gained": gained, "lost": lost, "mcnemar_p": round(exact, 6), "p": round(max(change.p, exact), 6)}
    return told


def _judge(entries: list[dict[str, Any]], margin: float) -> None:
    """Give each entry a verdict; of the primary metrics, with p-values corrected for being several."""
    judged = {e["name"]: e["difference"]["p"] for e in entries if e["primary"] and e["difference"]}
    for name, p in holm(judged).items():
        next(e for e in entries if e["name"] == name)["difference"]["p_holm"] = round(p, 6)
    for entry in entries:
        entry["verdict"] = _verdict(entry)
        if entry["name"] == "over_refusal" and entry["difference"]:
            entry["margin"] = margin
            entry["within_margin"] = entry["difference"]["high"] < margin


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


def headline(entries: list[dict[str, Any]]) -> str:
    """The comparison in a few sentences, as it is; the first one stands alone."""
    primary = [entry for entry in entries if entry["primary"]]
    better, worse, open_ = (
        [entry for entry in primary if entry["verdict"] in verdicts]
        for verdicts in (("better",), ("worse",), ("inconclusive", "not scored"))
    )
    count = f"of {len(primary)} primary metrics"
    if len(open_) == len(primary):
        documents = max((entry["documents"] for entry in primary), default=0)
        told = f"Inconclusive: {documents} source documents are too few to name a winner; it takes {MIN_CLUSTERS}."
    elif better and worse:
        told = f"The tuned model is better on {len(better)} {count}, but worse on {len(worse)}."
        told += f" Better: {_names(better)}. Worse: {_names(worse)}."
    elif better:
        told = f"The tuned model is better on {len(better)} {count} and worse on none. Better: {_names(better)}."
    elif worse:
        told = f"The tuned model is worse on {len(worse)} {count} and better on none. Worse: {_names(worse)}."
    else:
        told = f"No significant gain: on none {count} does the tuned model differ from the base beyond chance."
    if open_ and len(open_) < len(primary):
        told += f" {len(open_)} cannot be judged on so few documents."
    also = [entry for entry in entries if entry["verdict"] == "worse" and not entry["primary"]]
    return told + (f" Also worse: {_names(also)}." if also else "")


def _names(entries: list[dict[str, Any]]) -> str:
    told = [f"{_inline(entry['label'])} {signed(entry['difference']['value'])}" for entry in entries]
    return told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]


def _inline(label: str) -> str:
    return label if label[:2].isupper() else label[0].lower() + label[1:]
