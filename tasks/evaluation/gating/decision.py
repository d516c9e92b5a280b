"""From verdicts to one decision, and to the sentence that says why."""

from collections.abc import Sequence
from typing import Any, Literal

from tasks.evaluation.gating.verdicts import Verdict
from tasks.evaluation.metrics import METRICS
from tasks.reporting.figures import inline, interval, share, signed

Decision = Literal["promote", "refuse", "undecided"]
INSTEAD = "take it out of service, `reground rollback`, or promote by hand, `reground promote --force --because …`"
AGAINST = {"base": "the base", "champion": "the champion", "trained": "what was trained"}


def decide(verdicts: Sequence[Verdict], champion_missing: str | None = None) -> tuple[Decision, str]:
    """promote: every verdict that is needed holds. refuse: one fails. undecided: one is open, or nothing was asked.

    Undecided also if there is a champion that could not be compared, whether or not a rule asks for it: the promotion
    log takes no gate that does not know whom it puts out of service.
    """
    if not any(each["against"] != "trained" for each in verdicts):
        return "undecided", "Undecided because the rules ask for nothing against the base, and there is no champion."
    needed = [each for each in verdicts if each["needed"]]
    failed = [each for each in needed if each["outcome"] == "fails"]
    open_ = [each for each in needed if each["outcome"] == "open"]
    if failed:
        return "refuse", _refused(failed)
    if champion_missing:
        return "undecided", f"Undecided against the champion: {champion_missing}; {INSTEAD}."
    if open_:
        return "undecided", _undecided(open_)
    return "promote", _promoted(needed)


def _refused(failed: Sequence[Verdict]) -> str:
    worst = max(failed, key=lambda each: (each["must"] == "not_worse", _excess(each)))  # a margin says more
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
            others = len(gains) - 1
            more = f" and {others} more metric{'s' * (others > 1)} are" if others else " is"
            told.append(f"{_told(best)}{more} better than {AGAINST[against]}")
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
