"""The report in the terminal, from report.json: the comparison with the base, and what the gate asked."""

from typing import TYPE_CHECKING, Any

from tasks.reporting.figures import count, interval, share, signed

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "no significant difference": "default",
    "inconclusive": "yellow",
    "not scored": "dim",
    "diagnostic": "dim",
}
OUTCOMES = {"holds": ("✓ holds", "green"), "fails": ("✗ fails", "bold red"), "open": ("? open", "yellow")}


def table(report: dict[str, Any]) -> "RenderableType":
    """Comparison and verdicts in at most 100 columns; the decision is the headline, which is told below them."""
    from rich.console import Group

    return Group(comparison(report), verdicts(report))


def comparison(report: dict[str, Any]) -> "Table":
    """Base against tuned, a line per metric, grouped, coloured by verdict."""
    from rich.text import Text

    shown = _table(
        f"Base against tuned: {count(report['rows'])} questions, {count(report['documents'])} documents",
        "Difference: tuned less base with its 95 % interval. ↑ higher is better, ↓ lower. • primary metric.",
    )
    shown.add_column("metric", no_wrap=True)
    for name in ("base", "tuned", "difference [95 %]"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shown.add_column("n", justify="right", no_wrap=True)
    group = ""
    for entry in report["comparisons"]["base"]:
        if entry["group"] != group:
            group = entry["group"]
            shown.add_row(Text(group, style="bold"))
        arrow = {"higher": " ↑", "lower": " ↓"}.get(entry["direction"], "")
        shown.add_row(
            Text(("• " if entry["primary"] else "  ") + entry["label"] + arrow),
            share(entry["base"]["value"]),
            share(entry["tuned"]["value"]),
            _change(entry["difference"]),
            Text(entry["verdict"], style=STYLES[entry["verdict"]]),
            count(entry["rows"]),
        )
    return shown


def verdicts(report: dict[str, Any]) -> "Table":
    """What each rule of the gate asked, and whether it holds; those that refuse or leave open come first."""
    from rich.text import Text

    shown = _table("What the gate asked", "")
    for name in ("against", "rule"):
        shown.add_column(name, no_wrap=True)
    for name in ("change [95 %]", "margin"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcome", no_wrap=True)
    for verdict in sorted(report["verdicts"], key=_urgency):
        text, style = OUTCOMES[verdict["outcome"]]
        needed = verdict["outcome"] != "open" or verdict["needed"]
        shown.add_row(
            verdict["against"],
            Text(f"{verdict['label']} {verdict['must'].replace('_', ' ')}"),
            _change(verdict if verdict["value"] is not None else None),
            "any" if verdict["margin"] is None else share(verdict["margin"]),
            Text(text if needed else "not needed", style=style if needed else "dim"),
        )
    return shown


def _urgency(verdict: dict[str, Any]) -> int:
    return ("fails", "open", "holds").index(verdict["outcome"]) if verdict["needed"] else 3


def _change(change: dict[str, Any] | None) -> str:
    return f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"


def _table(title: str, caption: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption or None,
        caption_justify="left",
        caption_style="dim",
    )
