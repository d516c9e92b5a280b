"""How a comparison went, in a few sentences."""

from collections.abc import Sequence
from typing import Any

from tasks.reporting.figures import inline, signed

SUBJECTS = {
    "base": "Against the base",
    "champion": "Against the champion",
    "trained": "What ships, against what was trained",
}


def summary(entries: Sequence[dict[str, Any]], against: str) -> str:
    """On how many of the primary metrics the second system is better than the other, `against`, and on which worse."""
    primary = [entry for entry in entries if entry["primary"]]
    better, worse, open_ = (
        [entry for entry in primary if entry["verdict"] in verdicts]
        for verdicts in (("better",), ("worse",), ("inconclusive", "not scored"))
    )
    told = f"{SUBJECTS[against]}: "
    if len(open_) == len(primary):
        documents = max((entry["documents"] for entry in primary), default=0)
        return told + f"no primary metric can be judged on {documents} documents."
    if not better and not worse:
        return told + f"no difference beyond chance on any of {len(primary)} primary metrics."
    told += f"better on {len(better) or 'none'} of {len(primary)} primary metrics, worse on {len(worse) or 'none'}."
    told += f" Better: {_names(better)}." if better else ""
    told += f" Worse: {_names(worse)}." if worse else ""
    told += f" {len(open_)} cannot be judged on so few documents." if open_ else ""
    also = [entry for entry in entries if entry["verdict"] == "worse" and not entry["primary"]]
    return told + (f" Also worse: {_names(also)}." if also else "")


def _names(entries: Sequence[dict[str, Any]]) -> str:
    told = [f"{inline(entry['label'])} {signed(entry['difference']['value'])}" for entry in entries]
    return told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]
