"""How long answers are, and when they refuse."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluation.metrics.scores import Scores

BINS = 12


def refusals(systems: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """For answerable and unanswerable questions, how many each system answered, refused, and refused only to answer
    after all (`leaky`)."""
    import numpy as np

    told = []
    for name, unanswerable in (("answerable", 0), ("unanswerable", 1)):
        kind: dict[str, Any] = {"name": name}
        for system, scores in systems.items():
            asked = scores.columns["should_abstain"] == unanswerable
            refused = asked & (scores.columns["abstained"] == 1)
            leaky = refused & (np.nan_to_num(scores.columns["leaky_abstention"]) == 1)
            counts = {"answered": asked & ~refused, "refused": refused & ~leaky, "leaky": leaky}
            kind[system] = {"rows": int(asked.sum())} | {each: int(rows.sum()) for each, rows in counts.items()}
        told.append(kind)
    return told


def histogram(lengths: Mapping[str, Sequence[int]], bins: int = BINS) -> dict[str, Any]:
    """Of lengths in words `edges` (the last bin is open), and per name its `counts` and its `median`."""
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
