"""From verdicts to one decision, and to the sentence that says why."""

from collections.abc import Sequence
from typing import Any, Literal

from tasks.gating.verdicts import Verdict
from tasks.metrics import METRICS
from tasks.reporting.figures import inline, interval, share, signed

Decision = Literal["promote", "refuse", "undecided"]
AGAINST = {"base": "the base", "champion": "the champion", "trained": "what was trained"}


def decide(verdicts: Sequence[Verdict]) -> tuple[Decision, str]:
    """promote: every verdict that is needed holds. refuse: one fails. undecided: none fails, and one is open."""
    needed = [each for each in verdicts if each["needed"]]
    failed = [each for each in needed if each["outcome"] == "fails"]
    open_ = [each for each in needed if each["outcome"] == "open"]
    if failed:
        return "refuse", _refused(failed)
    if open_:
        return "undecided", _undecided(open_)
    return "promote", _promoted(needed)


def _refused(failed: Sequence[Verdict]) -> str:
    worst = max(failed, key=_excess)
    margin = f", which is more than the margin of {share(worst['margin'])}" if worst["must"] == "not_worse" else ""
    told = f"Refused because {_told(worst)} is worse than {AGAINST[worst['against']]}{margin}"
    return told + _more(len(failed) - 1, "rule fails", "rules fail") + "."


def _undecided(open_: Sequence[Verdict]) -> str:
    first = open_[0]
    return f"Undecided against {AGAINST[first['against']]}: {first['reason'].rstrip('.')}" + (
        _more(len(open_) - 1, "rule is open", "rules are open") + "."
    )


def _promoted(held: Sequence[Verdict]) -> str:
    told = []
    for against in dict.fromkeys(each["against"] for each in held):
        gains = [each for each in held if each["against"] == against and each["must"] == "better"]
        if gains:
            best = max(gains, key=lambda each: abs(each["value"]))
            more = _more(len(gains) - 1, "metric", "metrics")
            told.append(f"{_told(best)} is better than {AGAINST[against]}{more}")
    return f"Promoted because {' and '.join(told) or 'nothing is worse'}, and nothing is worse by more than its margin."


def _excess(verdict: Verdict) -> float:
    """How far the change's interval lies beyond what was tolerable."""
    at_best = -verdict["high"] if METRICS[verdict["metric"]].direction == "higher" else verdict["low"]
    return float(at_best - (verdict["margin"] or 0.0))


def _told(verdict: dict[str, Any]) -> str:
    change = f"{signed(verdict['value'])} {interval(verdict['low'], verdict['high'])}"
    return f"{inline(verdict['label'])} ({change})"


def _more(count: int, one: str, many: str) -> str:
    return f" ({count} more {one if count == 1 else many})" if count else ""
