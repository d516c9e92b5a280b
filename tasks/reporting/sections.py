"""The report's numbers beside the comparison: the four areas, refusals, lengths of answers, the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tasks.evaluation.metrics.abstention import baselines
from tasks.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Codes, Floats

AREAS = ("Faithfulness", "Hallucination", "Relevance", "Style / domain")  # groups of METRICS
ABSTENTION = ("abstention_f1", "abstention_recall", "abstention_precision", "over_refusal")
BINS = 12
COST = (  # as a training's record may have it
    *("train_seconds", "tokens_per_second", "computed_tokens_per_second", "mfu"),
    *("peak_mib", "predicted_mib", "watts", "gpu_seconds"),
)


def areas(comparisons: Sequence[dict[str, Any]], base: Scores, tuned: Scores) -> list[dict[str, Any]]:
    """For each area its leading metric, the others that have a direction and are scored, and the row to show.

    The leading metric is the group's primary one, else its first that has a better direction. `comparisons` compare
    tuned with base, one per metric. An area without such a metric is left out.
    """
    found: list[dict[str, Any]] = []
    used: set[int] = set()
    for area in AREAS:
        directed = [each for each in comparisons if each["group"] == area and each["direction"] != "none"]
        if not directed:
            continue
        lead, *more = sorted(directed, key=lambda each: not each["primary"])
        row = _typical_row(lead, base, tuned, used)
        if row is not None:
            used.add(row)
        scored = [each["name"] for each in more if each["difference"]]
        found.append({"name": area, "metric": lead["name"], "more": scored, "row": row})
    return found


def _typical_row(comparison: dict[str, Any], base: Scores, tuned: Scores, used: set[int]) -> int | None:
    """The row with the median change among those that changed as the figure did; None if no row has both scores.

    The median and not the extreme, so that the example does not promise more than the figure. Of several rows with the
    same change it is the first. Rows in `used` are left out.
    """
    import numpy as np

    change = tuned.columns[comparison["name"]] - base.columns[comparison["name"]]
    change[list(used)] = np.nan
    rows = _changed_like(change, comparison["difference"])
    if not len(rows):
        return None
    median = np.quantile(change[rows], 0.5, method="inverted_cdf")  # one of the values, never between two
    return int(rows[change[rows] == median][0])


def _changed_like(change: "Floats", difference: dict[str, Any] | None) -> "Codes":
    """Numbers of the rows whose change has the sign of the figure's; if there are none, of all that have a change."""
    import numpy as np

    sign = np.sign(difference["value"]) if difference else 0.0
    rows = np.flatnonzero(np.sign(change) == sign) if sign else np.array([], dtype=int)
    return rows if len(rows) else np.flatnonzero(~np.isnan(change))


def abstention(comparisons: Sequence[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """The abstention metrics of base and tuned, and of two systems that always and never refuse.

    `share` is the share of unanswerable questions.
    """
    metrics = {each["name"]: each for each in comparisons}
    systems = {which: {name: metrics[name][which]["value"] for name in ABSTENTION} for which in ("base", "tuned")}
    return [{"name": name.replace("_", " "), **values} for name, values in (systems | baselines(share)).items()]


def refusals(systems: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """For answerable and for unanswerable questions, how many each system answered and refused.

    `leaky` counts those that it refused and then answered after all; `refused` does not contain them.
    """
    import numpy as np

    kinds = []
    for name, unanswerable in (("answerable", 0), ("unanswerable", 1)):
        kind: dict[str, Any] = {"name": name}
        for system, scores in systems.items():
            asked = scores.columns["should_abstain"] == unanswerable
            refused = asked & (scores.columns["abstained"] == 1)
            leaky = refused & (np.nan_to_num(scores.columns["leaky_abstention"]) == 1)
            counts = {"answered": asked & ~refused, "refused": refused & ~leaky, "leaky": leaky}
            kind[system] = {"rows": int(asked.sum())} | {each: int(rows.sum()) for each, rows in counts.items()}
        kinds.append(kind)
    return kinds


def histogram(lengths: Mapping[str, Sequence[int]], bins: int = BINS) -> dict[str, Any]:
    """A histogram of lengths in words: `edges` (the last bin is open), and per name its `counts` and its `median`."""
    import numpy as np

    every = np.concatenate([np.asarray(each, dtype=float) for each in lengths.values()])
    width = _round_up(float(np.quantile(every, 0.98)) / bins)
    edges = np.arange(bins + 1) * width
    return {
        "edges": edges.astype(int).tolist(),
        "counts": {n: np.histogram(np.clip(each, 0, edges[-1]), edges)[0].tolist() for n, each in lengths.items()},
        "median": {name: float(np.median(each)) for name, each in lengths.items()},
    }


def _round_up(width: float) -> int:
    """To 1, 2, 3, 5 or 10, times a power of ten."""
    scale = 1
    while True:
        for step in (1, 2, 3, 5):
            if width <= step * scale:
                return step * scale
        scale *= 10


def read_training(folder: Path) -> dict[str, Any]:
    """`loss` and `held_out`, lists of [step, loss], `summary`, the training report, and `cost`; empty where files lack.

    The cost is measured on this one training: another one of the same recipe costs something else.
    """
    metrics, summary, record = folder / "metrics.jsonl", folder / "report.json", folder / "record.json"
    logged = [orjson.loads(line) for line in metrics.read_bytes().splitlines()] if metrics.exists() else []
    measured = orjson.loads(record.read_bytes()).get("measured", {}) if record.exists() else {}
    return {
        "loss": _curve(logged, "loss"),
        "held_out": _curve(logged, "eval_loss"),
        "summary": orjson.loads(summary.read_bytes()) if summary.exists() else {},
        "cost": {name: measured[name] for name in COST if name in measured},
    }


def _curve(logged: list[dict[str, Any]], name: str) -> list[list[float]]:
    return [[line["step"], round(line[name], 6)] for line in logged if line.get(name) is not None]
