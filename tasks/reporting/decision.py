"""The gate's decision and verdicts as sentences."""

import math
from collections.abc import Sequence
from typing import assert_never

from tasks.evaluation.gating.decision import Decision, Verdict
from tasks.evaluation.gating.verdicts import losses
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.reporting.figures import inline, interval, share, signed

SHOWN = 3  # questions that a sentence names
INSTEAD = "take it out of service, `reground rollback`, or promote by hand, `reground promote --force --because …`"
AGAINST = {
    "base": "the base",
    "base_shots": "the base with examples",
    "champion": "the champion",
    "best": "the best so far",
    "trained": "what was trained",
}


def explained(decision: Decision) -> Decision:
    """The decision with `why`, and the `reason` of each verdict, filled in."""
    verdicts = tuple(each.model_copy(update={"reason": _reason(each, decision)}) for each in decision.verdicts)
    decision = decision.model_copy(update={"verdicts": verdicts})
    return decision.model_copy(update={"why": _why(decision)})


def _why(decision: Decision) -> str:
    """The decision in one sentence."""
    needed = [each for each in decision.verdicts if each.needed]
    failed = [each for each in needed if each.outcome == "fails"]
    undecided = [each for each in needed if each.outcome == "open"]
    if not any(each.against != "trained" for each in decision.verdicts):
        return "Undecided because the rules ask for nothing against the base, and there is no champion."
    if failed:
        more = _more(len(failed) - 1, "rule fails", "rules fail")
        # Right answers say most; a loss says more than a floor, and a margin more than no gain.
        importance = {"at_least": 0, "at_most": 0, "better": 1, "not_worse": 2, "hold": 3}
        worst = max(
            failed, key=lambda each: (each.metric in ("correct", "must_hold"), importance[each.must], _excess(each))
        )
        if worst.must == "hold":
            return f"Refused because {_lost_again(worst)}{more}."
        if worst.must == "at_most":
            return f"Refused because {inline(worst.label)} are {_over(worst)}{more}."
        if worst.must == "at_least":
            return f"Refused because {inline(worst.label)} of the tuned model are {_under(worst)}{more}."
        margin = f", which is more than the margin of {share(worst.margin)}" if worst.must == "not_worse" else ""
        sentence = f"Refused because {_change(worst)} is worse than {AGAINST[worst.against]}{margin}"
        return f"{sentence}{more}."
    if decision.champion_missing:
        return f"Undecided against the champion: {decision.champion_missing}; {INSTEAD}."
    if undecided:
        first = undecided[0]
        sentence = f"Undecided against {AGAINST[first.against]}: {first.reason.rstrip('.')}"
        return f"{sentence}{_more(len(undecided) - 1, 'rule is open', 'rules are open')}."
    return _promoted(needed)


def _promoted(held: Sequence[Verdict]) -> str:
    gains = []
    for against in dict.fromkeys(each.against for each in held):
        better = [each for each in held if each.against == against and each.must == "better"]
        if better:
            best = max(better, key=lambda each: (each.metric == "correct", abs(each.value or 0.0)))
            others = len(better) - 1
            more = f" and {others} more metric{'s' * (others > 1)} are" if others else " is"
            gains.append(f"{_change(best)}{more} better than {AGAINST[against]}")
    return (
        f"Promoted because {' and '.join(gains) or 'nothing is worse'}, and nothing is worse by more than its margin."
    )


def _reason(verdict: Verdict, decision: Decision) -> str:
    """Why a rule holds, fails or is open, in one sentence."""
    moved = f"{verdict.label} {_moved(verdict)}"
    match verdict.finding:
        case None:
            return verdict.reason
        case "not compared":
            return f"{decision.best_missing if verdict.against == 'best' else decision.champion_missing}."
        case "all hold":
            return f"All {verdict.rows} are answered rightly."
        case "lost again":
            return f"{_capital(_lost_again(verdict))}."
        case "not asked":
            return (
                f"{len(verdict.questions)} of {verdict.rows} are not among the evaluation questions: "
                f"{_quoted(verdict.questions)}; add their rows to the data, or take them off the list."
            )
        case "not scored":
            systems = " nor of the ".join(verdict.unscored)
            return f"{verdict.label}: no row {f'of the {systems} is scored' if systems else 'is scored for both'}."
        case "few documents":
            documents = f"{verdict.documents} source documents"
            return f"{verdict.label}: inconclusive on {documents}; it takes {MIN_CLUSTERS}."
        case "gain":
            p = verdict.p or 0.0
            return f"{moved}, beyond chance (p {'< 0.001' if p < 0.001 else f'{p:.3f}'})."
        case "loss":
            return f"{moved}: it got worse."
        case "no gain shown":
            return (
                f"{moved}: no gain beyond chance; one of {share(verdict.detectable)} would be shown four times in five."
            )
        case "within the margin":
            return f"{moved}, within the margin of {share(verdict.margin)}."
        case "beyond the margin":
            return f"{moved}, worse by more than the margin of {share(verdict.margin)}."
        case "margin not shown":
            return f"{moved}: {_why_not_shown(verdict)}."
        case "reaches the level" if verdict.must == "at_most":
            return f"{verdict.label}: {_level(verdict)}, which is within {share(verdict.level)}."
        case "under the level" if verdict.must == "at_most":
            return f"{verdict.label}: {_over(verdict)}."
        case "reaches the level":
            return f"{verdict.label}: {_level(verdict)}, which reaches {share(verdict.level)}."
        case "under the level":
            return f"{verdict.label}: {_under(verdict)}."
        case "level not shown":
            return f"{verdict.label}: {_level(verdict)}; so few documents cannot tell it from {share(verdict.level)}."
        case _:
            assert_never(verdict.finding)


def _why_not_shown(verdict: Verdict) -> str:
    """Whether there are too few documents for the margin, or the interval just reaches past it."""
    margin, least = verdict.margin or 0.0, verdict.detectable or 0.0
    if least <= margin:
        return f"the interval reaches past the margin of {share(margin)}"
    wanted = f"about {math.ceil(verdict.documents * (least / margin) ** 2):,}" if margin else "endlessly many"
    return (
        f"{verdict.documents} documents such as these show a margin of {share(least)}, not of {share(margin)}, "
        f"which takes {wanted}"
    )


def _lost_again(verdict: Verdict) -> str:
    count = len(verdict.questions)
    which = "a question that must hold is" if count == 1 else f"{count} questions that must hold are"
    return f"{which} not answered rightly: {_quoted(verdict.questions)}"


def _quoted(questions: Sequence[str]) -> str:
    more = f" and {len(questions) - SHOWN} more" if len(questions) > SHOWN else ""
    return ", ".join(f"“{each}”" for each in questions[:SHOWN]) + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _over(verdict: Verdict) -> str:
    return f"{_level(verdict)}, more than {share(verdict.level)}"


def _under(verdict: Verdict) -> str:
    return f"{_level(verdict)}, which does not reach {share(verdict.level)}"


def _level(verdict: Verdict) -> str:
    """A system's own figure: `0.63 [0.58, 0.67]`."""
    if verdict.low is None:
        return share(verdict.value)
    return f"{share(verdict.value)} [{share(verdict.low)}, {share(verdict.high)}]"


def _moved(verdict: Verdict) -> str:
    """`+0.63 [+0.58, +0.67]`."""
    if verdict.value is None or verdict.low is None or verdict.high is None:
        return "–"
    return f"{signed(verdict.value)} {interval(verdict.low, verdict.high)}"


def _change(verdict: Verdict) -> str:
    return f"{inline(verdict.label)} ({_moved(verdict)})"


def _excess(verdict: Verdict) -> float:
    """How far the change's interval lies beyond what is tolerable."""
    direction = METRICS[verdict.metric].direction if verdict.metric in METRICS else "lower"
    at_best, _ = losses(direction, verdict.low or 0.0, verdict.high or 0.0)
    return at_best - (verdict.margin or 0.0)


def _more(count: int, one: str, many: str) -> str:
    return f" ({count} more {one if count == 1 else many})" if count else ""
