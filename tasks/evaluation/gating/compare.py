"""Two systems on the same rows: each metric's difference, its interval, and what may be said about it."""

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.engine.errors import UserError
from tasks.evaluation.gating.pair import Pair
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import (
    MIN_CLUSTERS,
    SIGNIFICANT,
    Difference,
    Estimate,
    bootstrap,
    cluster_codes,
    detectable_mean,
    detectable_rate,
    holm,
    mcnemar,
)

NORMAL = 1.96  # standard errors on each side of a 95 % interval


def require_same_rows(first: Scores, second: Scores, names: tuple[object, object]) -> None:
    """UserError unless both score the same rows, of the same source documents: these are what the error bars count."""
    told = f"{names[0]} and {names[1]}"
    if first.ids != second.ids:
        raise UserError(f"{told} score different rows", "score both on the same rows: `reground retrain` does")
    if first.documents != second.documents:
        places = zip(first.ids, first.documents, second.documents, strict=True)
        row, one, other = next(place for place in places if place[1] != place[2])
        raise UserError(
            f"{told} take the rows from different documents: row {row} from {one!r} and from {other!r}",
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
) -> list[dict[str, Any]]:
    """One entry per metric, in the order given; the two systems were scored on the same rows.

    The systems' figures stand under their `names`; `difference` is the second's less the first's. A metric is compared
    on the rows that count for both systems, or, where the system itself decides which rows count (precision of its
    refusals, say), on each one's own. Figures are rounded to 6 digits.
    """
    import numpy as np

    codes = cluster_codes(first.documents)
    pairs = [Pair.of(name, first, second, codes) for name in metrics]
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
                    name: _figure(figure, len(rows), scored)
                    for name, figure, rows, scored in zip(names, figures, pair.counted, pair.scored, strict=True)
                },
                "difference": change and _change(change, pair),
            }
        )
    _judge(entries)
    return entries


def _figure(figure: Estimate | None, rows: int, scored: int) -> dict[str, Any]:
    """A system's figure over the rows that count; `scored`: over how many it has one by itself."""
    told: dict[str, Any] = {"rows": rows, "scored": scored, "value": None, "low": None, "high": None}
    if figure:
        told |= {"value": round(figure.value, 6), "low": round(figure.low, 6), "high": round(figure.high, 6)}
    return told


def _change(change: Difference, pair: Pair) -> dict[str, Any]:
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


def uncertainty(change: Mapping[str, Any]) -> float:
    """The standard error; or that of the interval's width, which near a rate of 0 knows better."""
    return float(max(change["error"], (change["high"] - change["low"]) / 2 / NORMAL))


def detectable(change: Mapping[str, Any], *, rows: int, documents: int, tests: int = 1) -> float:
    """The true change that would be shown four times in five, as the first of so many tests; 6 digits."""
    if "gained" in change:
        turned = (change[name] for name in ("gained", "lost", "failed"))
        least = detectable_rate(*turned, rows=rows, error=change["error"], clusters=documents, tests=tests)
    else:
        jump = change.get("jump", 0.0)
        least = detectable_mean(uncertainty(change), documents, tests=tests, jump=jump, rows=rows)
    return round(least, 6)


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
