"""A verdict for each rule: it holds, it fails, or the rows cannot tell; with the reason in one sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.evaluation.gating.compare import detectable, uncertainty
from tasks.evaluation.gating.rules import Rule
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS, SIGNIFICANT, detectable_mean, holm
from tasks.reporting.figures import interval, share, signed

Entry = Mapping[str, Any]  # of `compare`
Verdict = dict[str, Any]
Better = Literal["any", "all"]
Ruling = tuple[Literal["holds", "fails", "open"], str]


def judge(rules: Sequence[Rule], entries: Sequence[Entry], against: str, better: Better) -> list[Verdict]:
    """A verdict for each rule, from the comparison with one other system, whose name is `against`.

    Where any one gain is enough, the p-values of the rules that say better are corrected for being several (Holm); a
    metric that cannot be tested counts among them. Where all must be shown, none needs correction: a promotion by
    chance takes a false claim on every one of them. `needed` tells whether the decision hangs on the verdict: of gains
    of which one is enough, the others are not once it is shown.
    """
    found = {entry["name"]: entry for entry in entries}
    claims = [rule.metric for rule in rules if rule.must == "better"]
    p = {name: _p(found[name]) for name in claims}
    corrected = holm(p) if better == "any" else p
    verdicts = []
    for rule in rules:
        entry = found[rule.metric]
        change = entry["difference"]
        if rule.must == "better":
            tests = len(claims) if better == "any" else 1
            least = change and detectable(change, rows=entry["rows"], documents=entry["documents"], tests=tests)
            outcome, reason = _better(entry, corrected[rule.metric], least)
        else:
            least = _showable(entry)
            outcome, reason = _not_worse(entry, rule.margin or 0.0, least)
        verdicts.append(
            {
                "against": against,
                "metric": rule.metric,
                "label": entry["label"],
                "must": rule.must,
                "margin": rule.margin,
                "outcome": outcome,
                "reason": reason,
                "needed": True,
                **{name: change and change[name] for name in ("value", "low", "high")},
                "p": change and (round(corrected[rule.metric], 6) if rule.must == "better" else change["p"]),
                "detectable": least,
                "rows": entry["rows"],
                "documents": entry["documents"],
            }
        )
    shown = any(each["must"] == "better" and each["outcome"] == "holds" for each in verdicts)
    for each in verdicts:
        if better == "any" and shown and each["must"] == "better":
            each["needed"] = each["outcome"] == "holds"
    return verdicts


def untested(rules: Sequence[Rule], against: str, why: str) -> list[Verdict]:
    """Open verdicts, where there is no comparison to judge by."""
    nothing = dict.fromkeys(("value", "low", "high", "p", "detectable"))
    return [
        {
            **rule.model_dump(exclude={"against"}),
            "against": against,
            "label": METRICS[rule.metric].label,
            "outcome": "open",
            "reason": f"{why}.",
            "needed": True,
            **nothing,
            "rows": 0,
            "documents": 0,
        }
        for rule in rules
    ]


def _p(entry: Entry) -> float:
    """The p-value that a claim is tested with; 1 where there is nothing to test it on."""
    return float(entry["difference"]["p"]) if entry["difference"] and entry["documents"] >= MIN_CLUSTERS else 1.0


def _untold(entry: Entry) -> str | None:
    """Why nothing may be said about a metric; None if something may."""
    if entry["difference"] is None:
        empty = [name for name, figure in entry.items() if isinstance(figure, dict) and not figure["scored"]]
        return f"no row of the {' nor of the '.join(empty)} is scored" if empty else "no row is scored for both"
    if entry["documents"] < MIN_CLUSTERS:
        return f"inconclusive on {entry['documents']} source documents; it takes {MIN_CLUSTERS}"
    return None


def _better(entry: Entry, p: float, least: float | None) -> Ruling:
    if untold := _untold(entry):
        return "open", f"{entry['label']}: {untold}."
    change = entry["difference"]
    told = f"{entry['label']} {moved(entry)}"
    if (change["low"] > 0 or change["high"] < 0) and p < SIGNIFICANT:
        gained = (change["value"] > 0) == (entry["direction"] == "higher")
        return ("holds", f"{told}, beyond chance (p {_p_text(p)}).") if gained else ("fails", f"{told}: it got worse.")
    return "open", f"{told}: no gain beyond chance; one of {share(least)} would be shown four times in five."


def _not_worse(entry: Entry, margin: float, least: float | None) -> Ruling:
    if untold := _untold(entry):
        return "open", f"{entry['label']}: {untold}."
    loss_at_best, loss_at_worst = losses(entry)
    told = f"{entry['label']} {moved(entry)}"
    if loss_at_worst <= margin:
        return "holds", f"{told}, within the margin of {share(margin)}."
    if loss_at_best > margin:
        return "fails", f"{told}, worse by more than the margin of {share(margin)}."
    if least and least > margin:
        wanted = f"about {math.ceil(entry['documents'] * (least / margin) ** 2):,}" if margin else "endlessly many"
        return "open", (
            f"{told}: {entry['documents']} documents such as these show a margin of {share(least)}, not of "
            f"{share(margin)}, which takes {wanted}."
        )
    return "open", f"{told}: the interval reaches past the margin of {share(margin)}."


def moved(entry: Entry) -> str:
    """`+0.63 [+0.58, +0.67]`."""
    change = entry["difference"]
    return f"{signed(change['value'])} {interval(change['low'], change['high'])}"


def losses(entry: Entry) -> tuple[float, float]:
    """How much worse the second system is, at the interval's better end and at its worse one; a gain is negative."""
    low, high = entry["difference"]["low"], entry["difference"]["high"]
    return (-high, -low) if METRICS[entry["name"]].direction == "higher" else (low, high)


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _showable(entry: Entry) -> float | None:
    """The least margin that would be kept to four times in five, if nothing had changed in truth; 6 digits."""
    change, clusters = entry["difference"], entry["documents"]
    if not change:
        return None
    return round(detectable_mean(uncertainty(change), clusters), 6)
