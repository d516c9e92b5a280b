"""How adapters, what became of them and how they compare look in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.promotion.versions import Line

STATES = {"champion": "bold green", "previous": "green", "challenger": "yellow", "rolled back": "red", "refused": "dim"}


def versions(console: Console, lines: Sequence[Line]) -> None:
    """One adapter a row, the newest decision first; below each why."""
    if not lines:
        console.print("There is no adapter yet: `reground retrain` makes one.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("adapter", "state", "since", "by", "gate", "size"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=True)
    table.add_column("why")
    for each in lines:
        gate = (each.decision or "–") + (" (by hand)" if each.by_hand else "")
        figures = "".join(f"\n[dim]{escape(figure)}[/]" for figure in each.figures)
        state = f"[{STATES.get(each.state, 'default')}]{each.state}[/]"
        size = "gone" if each.size is None else f"{each.size / 2**20:.1f} MiB"
        why = escape(each.why) + figures
        table.add_row(each.adapter, state, each.at[:16].replace("T", " "), escape(each.by), gate, size, why)
    console.print(table)


def comparison(console: Console, told: dict[str, Any]) -> None:
    """What differs first; the difference is the second's figure less the first's."""
    from tasks.reporting.figures import count, interval, share, signed
    from tasks.reporting.terminal import STYLES

    first, second = told["names"]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("metric", no_wrap=True)
    for name in (first, second, "difference [95 %]"):
        table.add_column(escape(name), justify="right")
    table.add_column("verdict", no_wrap=True)
    table.add_column("n", justify="right")
    for entry in told["metrics"]:
        change = entry["difference"]
        table.add_row(
            ("• " if entry["primary"] else "  ") + entry["label"],
            share(entry["first"]["value"]),
            share(entry["second"]["value"]),
            f"{signed(change['value'])} {escape(interval(change['low'], change['high']))}" if change else "–",
            f"[{STYLES[entry['verdict']]}]{entry['verdict']}[/]",
            count(entry["rows"]),
        )
    console.print(table)
    differ = sum(entry["verdict"] in ("better", "worse") for entry in told["metrics"])
    questions = f"{count(told['rows'])} questions about {count(told['documents'])} documents"
    console.print(f"\n{differ} of {len(told['metrics'])} metrics differ, on the same {questions}.", highlight=False)
    console.print("• primary metric. better, worse: the second than the first.", style="dim", highlight=False)
