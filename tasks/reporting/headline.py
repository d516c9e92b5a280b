"""The comparison of base and tuned in a few sentences."""

from typing import Any

from tasks.reporting.figures import inline, signed
from tasks.statistics import MIN_CLUSTERS


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
    told = [f"{inline(entry['label'])} {signed(entry['difference']['value'])}" for entry in entries]
    return told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]
