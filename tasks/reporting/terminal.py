"""The comparison as a table in the terminal, from report.json."""

from typing import TYPE_CHECKING, Any

from tasks.reporting.figures import count, interval, share, signed

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "no significant difference": "default",
    "inconclusive": "yellow",
    "not scored": "dim",
    "diagnostic": "dim",
}


def table(report: dict[str, Any]) -> "Table":
    """Base against tuned in at most 100 columns, a line per metric, grouped, coloured by verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"Base against tuned: {count(report['rows'])} questions, {count(report['documents'])} documents",
        title_justify="left",
        title_style="bold",
        caption="Difference: tuned less base with its 95 % interval. ↑ higher is better, ↓ lower. • primary metric.",
        caption_justify="left",
        caption_style="dim",
    )
    shown.add_column("metric", no_wrap=True)
    for name in ("base", "tuned", "difference [95 %]"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shown.add_column("n", justify="right", no_wrap=True)
    group = ""
    for entry in report["metrics"]:
        if entry["group"] != group:
            group = entry["group"]
            shown.add_row(Text(group, style="bold"))
        change = entry["difference"]
        arrow = {"higher": " ↑", "lower": " ↓"}.get(entry["direction"], "")
        shown.add_row(
            Text(("• " if entry["primary"] else "  ") + entry["label"] + arrow),
            share(entry["base"]["value"]),
            share(entry["tuned"]["value"]),
            f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–",
            Text(entry["verdict"], style=STYLES[entry["verdict"]]),
            count(entry["rows"]),
        )
    return shown
