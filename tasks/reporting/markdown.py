"""The comparison in Markdown: an artifact of Prefect's, and a section of the model card."""

from typing import Any

from tasks.reporting.figures import count, interval, share, signed
from tasks.reporting.training import resampled

CURVE_POINTS = 40  # as many as an xychart shows apart

NOTE = (
    "Difference: tuned less base, on the same rows, with a 95 % interval over source documents. ↑ higher is better, "
    "↓ lower. **Bold**: primary metrics, corrected for being several (Holm)."
)


def page(report: dict[str, Any]) -> str:
    """The whole report.md: headline, comparison, baselines of abstention, loss curve."""
    parts = ["# Base against tuned", f"**{report['headline']}**", facts(report), comparison(report), NOTE]
    parts += ["## Abstention beside two systems that need no model", baselines(report)]
    if report["training"]["loss"]:
        parts += ["## Training loss", loss_chart(report["training"])]
    return "\n\n".join(parts) + "\n"


def evaluation_section(report: dict[str, Any]) -> str:
    """The model card's section on how the adapter compares with its base."""
    return "\n\n".join(["## Evaluation", report["headline"], facts(report), comparison(report), NOTE]) + "\n"


def facts(report: dict[str, Any]) -> str:
    return (
        f"{count(report['rows'])} questions from {count(report['documents'])} documents that training never saw, "
        f"{count(report['unanswerable'])} of them unanswerable."
    )


def comparison(report: dict[str, Any]) -> str:
    lines = [
        "| | Metric | Base | Tuned | Difference [95 %] | Verdict | n |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    group = ""
    for entry in report["metrics"]:
        name = f"**{entry['label']}**" if entry["primary"] else entry["label"]
        arrow = {"higher": " ↑", "lower": " ↓"}.get(entry["direction"], "")
        change = entry["difference"]
        difference = f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"
        lines.append(
            f"| {entry['group'] if entry['group'] != group else ''} | {name}{arrow} | {share(entry['base']['value'])} "
            f"| {share(entry['tuned']['value'])} | {difference} | {entry['verdict']} | {count(entry['rows'])} |"
        )
        group = entry["group"]
    return "\n".join(lines)


def baselines(report: dict[str, Any]) -> str:
    lines = ["| System | F1 | Recall | Precision | Over-refusal |", "|---|---:|---:|---:|---:|"]
    for system in report["abstention"]:
        names = ("abstention_f1", "abstention_recall", "abstention_precision", "over_refusal")
        lines.append(f"| {system['system']} | " + " | ".join(share(system[name]) for name in names) + " |")
    return "\n".join(lines)


def loss_chart(training: dict[str, Any]) -> str:
    """A mermaid xychart of the training loss and, if there is one, of the held-out loss."""
    points = training["loss"]
    first, last = points[0][0], points[-1][0]
    shown = min(CURVE_POINTS, len(points))
    steps = [first + (last - first) * i / max(shown - 1, 1) for i in range(shown)]
    curves = [resampled(points, steps)]
    if len(training["held_out"]) > 1:
        curves.append(resampled(training["held_out"], steps))
    top = max(max(curve) for curve in curves)
    title = "Loss by step: training" + (", held out" if len(curves) > 1 else "")
    lines = ["```mermaid", "xychart-beta", f'    title "{title}"', f'    x-axis "step" {first:g} --> {last:g}']
    lines += [f'    y-axis "loss" 0 --> {top * 1.05:.2f}', *(f"    line {curve}" for curve in curves), "```"]
    return "\n".join(lines)
