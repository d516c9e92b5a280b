"""How plans, runs, records and answers look in a terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.versioning.plan import Planned
from tasks.versioning.store import SHORT, Artifact

COLOURS = {"fresh": "green", "stale": "yellow", "waits": "cyan"}


def plan(steps: list[Planned]) -> Table:
    """One row per step: what would happen, why, and what it cost the last time."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("last time", justify="right", no_wrap=True)
    table.add_column("why")
    for step in steps:
        status = f"[{COLOURS[step.status]}]{step.status}[/]"
        why = "\n".join(escape(reason) for reason in _few(step.why))
        table.add_row(step.label, status, _seconds(step.seconds), why)
    return table


def _few(reasons: list[str], most: int = 4) -> list[str]:
    return reasons if len(reasons) <= most else [*reasons[:most], f"… and {len(reasons) - most} more"]


def step_starts(console: Console, step: Planned) -> None:
    if step.status != "fresh":
        why = escape("; ".join(_few(step.why)))
        console.print(f"[yellow]▸[/] [bold]{step.label}[/] [dim]{why}[/]", highlight=False)


def step_done(console: Console, step: Planned) -> None:
    """`✓ train  Completed  84.1 s  train/3f2a…`; a step that did not run reads Cached."""
    assert step.artifact is not None
    state, colour = ("Cached", "green") if step.status == "fresh" else ("Completed", "bold green")
    took = "" if step.status == "fresh" else _seconds(step.seconds)
    console.print(
        f"[green]✓[/] {step.label:<20}[{colour}]{state:<10}[/] {took:>9}  [dim]{step.artifact.about}[/]",
        highlight=False,
    )


def comparison(console: Console, report: dict[str, Any], folder: Path) -> None:
    """Base against tuned, the headline, and where the rest of the report is."""
    from tasks.reporting.terminal import table

    console.print()
    console.print(table(report))
    console.print(f"\n[bold]{escape(report['headline'])}[/]", highlight=False)
    console.print(f"[dim]report: {folder / 'report.html'}[/]", highlight=False, soft_wrap=True)


def markdown(console: Console, path: Path) -> None:
    from rich.markdown import Markdown  # a tenth of a second that a plan need not spend

    console.print(Markdown(path.read_text(encoding="utf-8")))


def side_by_side(question: str, base: str, tuned: str, which: str) -> Table:
    table = Table(title=escape(question), title_justify="left", title_style="bold", expand=True)
    table.add_column("base", ratio=1)
    table.add_column(f"tuned ({which})", ratio=1)
    table.add_row(escape(base) or "[dim](nothing)[/]", escape(tuned) or "[dim](nothing)[/]")
    return table


def versions(artifacts: list[Artifact]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("step", "key", "made at", "size", "took", "why"):
        table.add_column(name, justify="right" if name in ("size", "took") else "left", no_wrap=name != "why")
    for each in artifacts:
        record = each.record
        table.add_row(
            record["label"],
            each.key[:SHORT],
            record["made_at"].replace("T", " ").removesuffix("+00:00"),
            _size(each.size),
            _seconds(record["measured"]["seconds"]),
            escape("; ".join(_few(record["why"], 1))),
        )
    return table


def record(console: Console, artifact: Artifact) -> None:
    """The record of one artifact: where it lies, what it was made from, its config, what it cost, its files."""
    told = artifact.record
    facts = {
        "artifact": artifact.about,
        "folder": str(artifact.folder),
        "made at": told["made_at"],
        "made by": ", ".join(f"{name} {value}" for name, value in told["made_by"].items()),
        "why": "; ".join(told["why"]),
        **{f"from {name}": about for name, about in told["made_from"].items() if about},
        **{name.replace("_", " "): f"{value:g}" for name, value in told["measured"].items()},
        "libraries": ", ".join(f"{name} {version}" for name, version in told["payload"]["libraries"].items()),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, escape(value))
    console.print(table)
    console.print_json(data=told["config"])
    for name, each in artifact.files.items():
        console.print(f"  {_size(each['size']):>10}  {name}", highlight=False)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
