"""The report in Markdown: an artifact of Prefect's, in short, and a section of the model card."""

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.reporting.figures import count, inline, interval, share, signed
from tasks.reporting.judges import judges_section
from tasks.reporting.slices import markdown as slices
from tasks.reporting.training import cost_line

NOTE = (
    "Difference: tuned less base, on the same rows, with a 95 % interval over source documents. ↑ higher is better, "
    "↓ lower. **Bold**: primary metrics, corrected for being several (Holm)."
)
OUTCOMES = {"holds": "✓ holds", "fails": "✗ fails", "open": "? open"}
AGAINST = {"base": "the base", "champion": "the champion", "trained": "what was trained"}


def page(report: dict[str, Any]) -> str:
    """report.md: the decision, the four areas, every verdict, the slices; the rest is in report.html."""
    parts = ["# Base against tuned", f"**{cell(report['headline'])}**", facts(report)]
    parts += report["summaries"].values()
    parts += ["## What the fine-tuning changed", areas(report), NOTE]
    parts += ["## What the gate asked", verdicts(report)]
    if report["slices"]:
        parts += ["## Harder questions", slices(report["slices"])]
    if report["judge"]:
        parts.append(judges_section(report["judge"]))
    if told := cost_line(report["training"]["cost"]):
        parts += ["## What the training cost", f"{told}."]
    return "\n\n".join(parts) + "\n"


def evaluation_section(report: dict[str, Any]) -> str:
    """The model card's section on what the gate decided, and how the adapter compares with its base."""
    return "\n\n".join(["## Evaluation", report["headline"], facts(report), comparison(report), NOTE]) + "\n"


def facts(report: dict[str, Any]) -> str:
    return (
        f"{count(report['rows'])} questions from {count(report['documents'])} documents that training never saw, "
        f"{count(report['unanswerable'])} of them unanswerable."
    )


def areas(report: dict[str, Any]) -> str:
    """Base against tuned on the leading metric of each area."""
    entries = {entry["name"]: entry for entry in report["comparisons"]["base"]}
    leading = [entries[area["metric"]] for area in report["areas"]]
    return _compared(leading)


def comparison(report: dict[str, Any]) -> str:
    """Base against tuned on every metric."""
    return _compared(report["comparisons"]["base"])


def _compared(entries: Sequence[dict[str, Any]]) -> str:
    rows = []
    group = ""
    for entry in entries:
        name = f"**{entry['label']}**" if entry["primary"] else entry["label"]
        rows.append(
            (
                entry["group"] if entry["group"] != group else "",
                name + {"higher": " ↑", "lower": " ↓"}.get(entry["direction"], ""),
                share(entry["base"]["value"]),
                share(entry["tuned"]["value"]),
                _change(entry["difference"]),
                entry["verdict"],
                count(entry["rows"]),
            )
        )
        group = entry["group"]
    return table("| | Metric | Base | Tuned | Difference [95 %] | Verdict | n |", "lrrrlr", rows)


def verdicts(report: dict[str, Any]) -> str:
    """What each rule asked and whether it holds."""
    rows = [
        (
            AGAINST[verdict["against"]],
            f"{inline(verdict['label'])} {verdict['must'].replace('_', ' ')}",
            OUTCOMES[verdict["outcome"]] if verdict["outcome"] != "open" or verdict["needed"] else "not needed",
            cell(verdict["reason"]),
        )
        for verdict in report["verdicts"]
    ]
    return table("| Against | Rule | Outcome | Reason |", "lll", rows)


def table(head: str, align: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `align` has l or r for each column behind the first."""
    ruler = "|---|" + "".join({"l": "---|", "r": "---:|"}[each] for each in align)
    return "\n".join([head, ruler, *("| " + " | ".join(row) + " |" for row in rows)])


def _change(change: dict[str, Any] | None) -> str:
    return f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"


def cell(text: str) -> str:
    """A text within a row of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
