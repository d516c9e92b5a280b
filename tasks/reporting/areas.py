"""The four areas in which a fine-tuned answerer is compared with its base, each with an answer to look at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Codes, Floats

AREAS = ("Faithfulness", "Hallucination", "Relevance", "Style / domain")  # groups of METRICS


def areas(entries: Sequence[dict[str, Any]], base: Scores, tuned: Scores) -> list[dict[str, Any]]:
    """Per area its leading metric, the others that are judged and scored, and the number of the row to show.

    The leading metric is the group's primary one, else its first that has a better direction. `entries` compare tuned
    with base, one per metric. An area without such a metric is left out.
    """
    told: list[dict[str, Any]] = []
    shown: set[int] = set()
    for area in AREAS:
        judged = [entry for entry in entries if entry["group"] == area and entry["direction"] != "none"]
        if not judged:
            continue
        lead, *more = sorted(judged, key=lambda entry: not entry["primary"])
        row = _typical(lead, base, tuned, shown)
        if row is not None:
            shown.add(row)
        scored = [entry["name"] for entry in more if entry["difference"]]
        told.append({"name": area, "metric": lead["name"], "more": scored, "row": row})
    return told


def _typical(entry: dict[str, Any], base: Scores, tuned: Scores, shown: set[int]) -> int | None:
    """A row that moved as the figure did: of those that did, the one in the middle. None if no row was measured twice.

    The middle and not the extreme, so that the example promises no more than the figure. Of several rows with the
    same change the first is in the middle enough.
    """
    import numpy as np

    change = tuned.columns[entry["name"]] - base.columns[entry["name"]]
    change[list(shown)] = np.nan
    moved = _alike(change, entry["difference"])
    if not len(moved):
        return None
    middle = np.quantile(change[moved], 0.5, method="inverted_cdf")  # one of the values, never between two
    return int(moved[change[moved] == middle][0])


def _alike(change: "Floats", difference: dict[str, Any] | None) -> "Codes":
    """Numbers of the rows whose change has the sign of the figure's; of all that were measured, if there are none."""
    import numpy as np

    sign = np.sign(difference["value"]) if difference else 0.0
    moved = np.flatnonzero(np.sign(change) == sign) if sign else np.array([], dtype=int)
    return moved if len(moved) else np.flatnonzero(~np.isnan(change))
