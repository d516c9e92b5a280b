"""What the judges said, as a section in Markdown."""

from collections.abc import Mapping
from typing import Any

from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.reporting.figures import count, interval, share, signed

NOTE = (
    "Models judged the answers; they decide nothing. Means with 95 % intervals over source documents. Difference: "
    "tuned less base, on the n questions that both were judged on. Missing: judgements that did not come; they count "
    "nowhere."
)


def judges_section(judged: Mapping[str, Any]) -> str:
    """The section on judge.json (see `tasks.judge`): figures, missing judgements with reasons, models and cost."""
    lines = [
        "| Judge | Base | Tuned | Difference [95 %] | n | Missing, base / tuned |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in judged["judges"]:
        change = each["difference"]
        told = f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"
        missing = " / ".join(_percent(each[system]["missing_rate"]) for system in ("base", "tuned"))
        lines.append(
            f"| {each['label']} | {_figure(each['base'])} | {_figure(each['tuned'])} | {told} "
            f"| {count(change['rows'] if change else 0)} | {missing} |"
        )
    few = [each for each in judged["judges"] if each["difference"] and each["difference"]["documents"] < MIN_CLUSTERS]
    note = NOTE + (f" Under {MIN_CLUSTERS} documents the intervals are too narrow to name a winner." if few else "")
    return "\n\n".join(["## Judges", note, "\n".join(lines), "\n".join(_details(judged))])


def _details(judged: Mapping[str, Any]) -> list[str]:
    """Which model each judge is, why judgements have no score, and what the language model's cost."""
    lines = []
    for each in judged["judges"]:
        prompt = f", prompts `{each['prompt'][:12]}`" if each["prompt"] else ""
        without = {system: each[system]["reasons"] for system in ("base", "tuned")}
        reasons = "; ".join(
            f"{system} {', '.join(f'{count(number)} {reason}' for reason, number in told.items())}"
            for system, told in without.items()
            if told
        )
        lines.append(
            f"- {each['label']}: `{each['model']}`{prompt}." + (f" Without a score: {reasons}." if reasons else "")
        )
    if cost := judged["cost"]:
        lines.append(
            f"- This run sent {count(cost['requests'])} requests, {count(cost['prompt_tokens'])} tokens in and "
            f"{count(cost['completion_tokens'])} out; {count(cost['replies_taken_over'])} replies were known."
        )
    return lines


def _figure(told: Mapping[str, Any]) -> str:
    """0.78 [0.71, 0.83]; a cosine may be negative."""
    if told["value"] is None:
        return "–"
    return f"{share(told['value'])} [{share(told['low'])}, {share(told['high'])}]".replace("-", "−")


def _percent(rate: float | None) -> str:
    """7 %; under 1 % but some: < 1 %."""
    if rate is None:
        return "–"
    return "< 1 %" if 0 < rate < 0.01 else f"{rate:.0%}".replace("%", " %")
