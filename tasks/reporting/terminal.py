"""The report in the terminal, from report.json: the comparison with the base, and what the gate asked."""

from collections import Counter
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
OUTCOMES = {  # in a title, and as a style
    "holds": ("hold", "green"),
    "fails": ("fail", "bold red"),
    "open": ("open", "yellow"),
    "idle": ("not needed", "dim"),
}


def table(report: dict[str, Any]) -> "RenderableType":
    """Comparison and verdicts in at most 100 columns. The decision is the headline, which is told below them."""
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


def verdicts(report: dict[str, Any]) -> "RenderableType":
    """How many rules of the gate hold, and each that fails or is open; those that fail come first."""
    from rich.text import Text

    counts = Counter(_outcome(verdict) for verdict in report["verdicts"])
    told = ", ".join(f"{counts[name]} {words}" for name, (words, _) in OUTCOMES.items() if counts[name])
    title = f"What the gate asked: {told}"
    listed = [verdict for name in ("fails", "open") for verdict in report["verdicts"] if _outcome(verdict) == name]
    if not listed:
        return Text(title, style="bold")
    shown = _table(title, "")
    for name in ("rule", "against"):
        shown.add_column(name, no_wrap=True)
    for name in ("change [95 %]", "margin"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcome", no_wrap=True)
    for verdict in listed:
        shown.add_row(
            Text(f"{verdict['label']} {verdict['must'].replace('_', ' ')}"),
            verdict["against"],
            _change(verdict if verdict["value"] is not None else None),
            "any" if verdict["margin"] is None else share(verdict["margin"]),
            Text(verdict["outcome"], style=OUTCOMES[verdict["outcome"]][1]),
        )
    return shown


def _outcome(verdict: dict[str, Any]) -> str:
    return verdict["outcome"] if verdict["needed"] or verdict["outcome"] == "holds" else "idle"


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
