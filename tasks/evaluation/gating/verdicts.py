"""A verdict for each rule (it holds, it fails, or the rows cannot tell), and one decision from all verdicts."""

from collections.abc import Sequence
from typing import Literal, assert_never

from tasks.evaluation.gating.compare import detectable, uncertainty
from tasks.evaluation.gating.decision import (
    Against,
    Change,
    Comparison,
    Figure,
    Finding,
    Flip,
    Forgetting,
    Outcome,
    Verdict,
)
from tasks.evaluation.gating.rules import Rule
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS, SIGNIFICANT, Estimate, detectable_mean, holm

Ruling = tuple[Outcome, Finding]
FLIPS = "Right answers lost"
FORGOTTEN = "Nats per token lost on a general text"


def judge(
    rules: Sequence[Rule], comparisons: Sequence[Comparison], against: Against, better: Literal["any", "all"]
) -> list[Verdict]:
    """A verdict for each rule, from the comparisons with one other system, `against`.

    With "any" one gain is enough: the p-values of the rules that say better are corrected for how many of these rules
    there are (Holm); a metric that cannot be tested counts among them. With "all" none is corrected: a promotion by
    chance takes a false claim on every one of them.
    """
    by_metric = {each.name: each for each in comparisons}
    claims = [rule.metric for rule in rules if rule.must == "better"]
    p_values = {name: _p(by_metric[name]) for name in claims}
    tests = len(claims) if better == "any" else 1
    corrected = holm(p_values) if better == "any" else p_values
    verdicts = []
    for rule in rules:
        compared = by_metric[rule.metric]
        change = compared.difference
        said: Change | Figure | None = change
        match rule.must:
            case "better":
                p = change and round(corrected[rule.metric], 6)
                least = change and detectable(change, rows=compared.rows, documents=compared.documents, tests=tests)
                outcome, finding = _unknown(compared) or _better(compared, corrected[rule.metric])
            case "not_worse":
                p = change and change.p
                # The least margin that would be kept to four times in five if nothing had changed in truth.
                least = change and round(detectable_mean(uncertainty(change), compared.documents), 6)
                outcome, finding = _unknown(compared) or _not_worse(compared, rule.margin or 0.0)
            case "at_least":
                said, p, least = tuple(compared.figures.values())[1], None, None
                outcome, finding = _at_least(compared, said, rule.level or 0.0)
            case _:
                assert_never(rule.must)
        verdicts.append(
            Verdict(
                against=against,
                metric=rule.metric,
                label=compared.label,
                must=rule.must,
                margin=rule.margin,
                level=rule.level,
                outcome=outcome,
                finding=finding,
                value=said and said.value,
                low=said and said.low,
                high=said and said.high,
                p=p,
                detectable=least,
                rows=compared.rows,
                documents=compared.documents,
                unscored=tuple(name for name, figure in compared.figures.items() if not figure.scored),
            )
        )
    if better == "any" and any(each.finding == "gain" for each in verdicts):
        verdicts = [
            each.model_copy(update={"needed": each.finding == "gain"}) if each.must == "better" else each
            for each in verdicts
        ]
    return verdicts


def not_compared(rules: Sequence[Rule], against: Against) -> list[Verdict]:
    """Open verdicts, for a system that there is no comparison with."""
    return [
        Verdict(
            **rule.model_dump(exclude={"against"}),
            against=against,
            label=METRICS[rule.metric].label,
            outcome="open",
            finding="not compared",
        )
        for rule in rules
    ]


def flips_at_most(level: float, share: Estimate | None, flips: Sequence[Flip], against: Against, size: int) -> Verdict:
    """Whether the `share` of what the other system dealt with rightly and the tuned one does not is at most the level.

    `size`: how many documents there are.
    """
    verdict = Verdict(against=against, metric="flips", label=FLIPS, must="at_most", level=level, outcome="open")
    if share is None:
        return verdict.model_copy(update={"finding": "not scored"})
    outcome: Outcome = "holds" if share.high <= level else "fails" if share.low > level else "open"
    said: dict[Outcome, Finding] = {"holds": "reaches the level", "fails": "under the level", "open": "level not shown"}
    finding = "few documents" if size < MIN_CLUSTERS and outcome == "open" else said[outcome]
    told = {name: round(getattr(share, name), 6) for name in ("value", "low", "high")}
    found = {"outcome": outcome, "finding": finding, "rows": len(flips), "documents": size}
    return verdict.model_copy(update=told | found)


def forgetting_at_most(level: float, found: Forgetting | None) -> Verdict:
    """Whether the loss on the general text rises by the level at most."""
    verdict = Verdict(
        against="base", metric="forgetting", label=FORGOTTEN, must="at_most", level=level, outcome="open", rows=1
    )
    if found is None:
        return verdict.model_copy(update={"finding": "not scored"})
    told = ("holds", "reaches the level") if found.rise <= level else ("fails", "under the level")
    return verdict.model_copy(update={"outcome": told[0], "finding": told[1], "value": found.rise})


def must_hold(failed: Sequence[str], absent: Sequence[str], asked: int) -> Verdict:
    """Whether every question of the list is dealt with rightly; `failed` and `absent` name those that are not."""
    outcome: Outcome = "fails" if failed else "open" if absent else "holds"
    finding: Finding = "lost again" if failed else "not asked" if absent else "all hold"
    return Verdict(
        against="base",
        metric="must_hold",
        label="Questions that must hold",
        must="hold",
        outcome=outcome,
        finding=finding,
        questions=tuple(failed or absent),
        rows=asked,
    )


def decide(verdicts: Sequence[Verdict], champion_missing: str | None) -> Literal["promote", "refuse", "undecided"]:
    """promote: every verdict that is needed holds. refuse: one fails. undecided: one is open, or nothing was asked.

    Undecided also if there is a champion that could not be compared, whether or not a rule asks for it: the promotion
    log takes no gate that does not know whom it puts out of service.
    """
    if not any(each.against != "trained" for each in verdicts):
        return "undecided"
    outcomes = {each.outcome for each in verdicts if each.needed}
    if "fails" in outcomes:
        return "refuse"
    return "undecided" if champion_missing or "open" in outcomes else "promote"


def losses(direction: Literal["higher", "lower", "none"], low: float, high: float) -> tuple[float, float]:
    """How much worse the second system is, at the interval's better end and at its worse one; a gain is negative."""
    return (-high, -low) if direction == "higher" else (low, high)


def _p(compared: Comparison) -> float:
    """The p-value that a claim is tested with; 1 where there is nothing to test it on."""
    return compared.difference.p if compared.difference and compared.documents >= MIN_CLUSTERS else 1.0


def _unknown(compared: Comparison) -> Ruling | None:
    """Why nothing may be said about a metric; None if something may."""
    if compared.difference is None:
        return "open", "not scored"
    return ("open", "few documents") if compared.documents < MIN_CLUSTERS else None


def _better(compared: Comparison, p: float) -> Ruling:
    change = compared.difference
    assert change
    if (change.low <= 0 <= change.high) or p >= SIGNIFICANT:
        return "open", "no gain shown"
    return ("holds", "gain") if (change.value > 0) == (compared.direction == "higher") else ("fails", "loss")


def _at_least(compared: Comparison, figure: Figure, level: float) -> Ruling:
    """Of the second system's own figure, whatever the first one's is."""
    if figure.value is None or figure.low is None or figure.high is None:
        return "open", "not scored"
    if compared.documents < MIN_CLUSTERS:
        return "open", "few documents"
    sign = -1 if compared.direction == "lower" else 1
    worst, best = sorted((sign * figure.low, sign * figure.high))
    if worst >= sign * level:
        return "holds", "reaches the level"
    return ("fails", "under the level") if best < sign * level else ("open", "level not shown")


def _not_worse(compared: Comparison, margin: float) -> Ruling:
    change = compared.difference
    assert change
    loss_at_best, loss_at_worst = losses(compared.direction, change.low, change.high)
    if loss_at_worst <= margin:
        return "holds", "within the margin"
    return ("fails", "beyond the margin") if loss_at_best > margin else ("open", "margin not shown")
