"""How plans, runs, records and answers look in a terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from tasks.engine.lineage import Lineage
from tasks.engine.plan import Planned
from tasks.engine.storage.aliases import Alias
from tasks.engine.storage.store import SHORT, Artifact
from tasks.engine.why import Cause

if TYPE_CHECKING:
    from tasks.engine.storage.fsck import Finding
    from tasks.engine.storage.gc import Collected

COLOURS = {"fresh": "green", "stale": "yellow", "waits": "cyan"}


def plan(console: Console, steps: list[Planned]) -> None:
    """One row per step: what would happen, why, and what it will cost by earlier records; then the total."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("will take", justify="right", no_wrap=True)
    table.add_column("why")
    for step in steps:
        status = f"[{COLOURS[step.status]}]{step.status}[/]"
        why = "\n".join(escape(reason) for reason in _few(step.why))
        table.add_row(step.label, status, _cost(step.seconds, step.gpu_seconds), why)
    console.print(table)
    console.print(f"\n{_total(steps)}", highlight=False)


def _total(steps: list[Planned]) -> str:
    """`2 of 10 steps are stale: about 2.1 min. 4 wait for them: up to 31.0 s more.`"""
    stale = [step for step in steps if step.status == "stale"]
    waits = [step for step in steps if step.status == "waits"]
    if not stale:
        return f"All {len(steps)} steps are fresh: nothing would run."
    if not any(step.before for step in steps):
        return f"Nothing was made yet: {len(steps)} steps would run, and no record tells what they cost."
    text = f"{len(stale)} of {len(steps)} steps {'is' if len(stale) == 1 else 'are'} stale{_sum(stale, 'about')}."
    if waits:
        text += f" {len(waits)} wait{'s' * (len(waits) == 1)} for what they write{_sum(waits, 'up to')}."
    return text


def _sum(steps: list[Planned], about: str) -> str:
    known = [step for step in steps if step.seconds is not None]
    if not known:
        return ", and never ran here, so the cost is not known"
    gpu = sum(step.gpu_seconds or 0 for step in known)
    text = f": {about} {_cost(sum(step.seconds or 0 for step in known), gpu)}"
    return text + (f", and {len(steps) - len(known)} that never ran here" if len(known) < len(steps) else "")


def _cost(seconds: float | None, gpu_seconds: float | None) -> str:
    """`3.4 min, 2.9 of them on a GPU`, in short: `3.4 min (GPU 2.9 min)`."""
    return duration(seconds or None) + (f" (GPU {duration(gpu_seconds)})" if gpu_seconds else "")


def why(console: Console, cause: Cause) -> None:
    """An artifact, the reasons for it, and below an input that changed the reasons for that; each told once."""
    console.print(_cause(cause, set()), highlight=False)


def _cause(cause: Cause, seen: set[str], reason: str = "") -> Tree:
    head = (f"{escape(reason)} ← " if reason else "") + f"[bold]{cause.artifact}[/]"
    if cause.artifact in seen:
        return Tree(f"{head} [dim]as above[/]")
    seen.add(cause.artifact)
    tree = Tree(f"{head} [dim]{cause.label}, made {_when(cause.made_at)}[/]")
    if cause.adopted:
        tree.add(_adopted(cause.adopted))
    for each in cause.why:
        name = each.removeprefix("input ").partition(" ")[0].rstrip(":")
        behind = cause.inputs.get(name) if each.startswith("input ") else None
        tree.add(_cause(behind, seen, each) if behind else escape(each))
    return tree


def lineage(console: Console, told: Lineage) -> None:
    """The artifact above what it was made from. What was shown in full is not shown again."""
    if told.chain:
        console.print(f"{len(told.chain)} trainings, each from the one before: {' → '.join(told.chain)}")
    console.print(_ancestors(told, told.root, set()), highlight=False)


def _ancestors(told: Lineage, name: str, seen: set[str], how: str = "") -> Tree:
    node = told.nodes[name]
    about = f"[bold]{escape(name)}[/]" + (f" [dim]{node.label}, made {_when(node.made_at)}[/]" if node.made_at else "")
    about += " [red]no longer in the store[/]" if node.gone else ""
    about += f" {_adopted(node.adopted)}" if node.adopted else ""
    tree = Tree((f"{how} ← " if how else "") + about + (" [dim]as above[/]" if name in seen and node.inputs else ""))
    if name not in seen:
        seen.add(name)
        for names, source in node.edges():
            tree.add(_ancestors(told, source, seen, names))
    return tree


def _adopted(adopted: dict[str, str]) -> str:
    told = f"adopted from {adopted['from']} by {adopted['by']} on {_when(adopted['at'])}: {adopted['because']}"
    return f"[yellow]{escape(told)}[/]"


def _when(moment: str) -> str:
    return moment.replace("T", " ").removesuffix("+00:00")


def _few(reasons: list[str], most: int = 4) -> list[str]:
    return reasons if len(reasons) <= most else [*reasons[:most], f"… and {len(reasons) - most} more"]


def on_step(console: Console) -> Callable[[Planned, bool], None]:
    """Shows a step when it starts and when it is done."""
    return lambda step, done: (step_done if done else step_starts)(console, step)


def step_starts(console: Console, step: Planned) -> None:
    if step.status != "fresh":
        why = escape("; ".join(_few(step.why)))
        console.print(f"[yellow]▸[/] [bold]{step.label}[/] [dim]{why}[/]", highlight=False)


def step_done(console: Console, step: Planned) -> None:
    """`✓ train  Completed  84.1 s  train/3f2a…`; a step that did not run reads Cached."""
    assert step.artifact is not None
    state, colour = ("Cached", "green") if step.status == "fresh" else ("Completed", "bold green")
    took = "" if step.status == "fresh" else duration(step.seconds)
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


def artifacts(found: list[Artifact]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("step", "key", "made at", "size", "took", "why"):
        table.add_column(name, justify="right" if name in ("size", "took") else "left", no_wrap=name != "why")
    for each in found:
        record = each.record
        table.add_row(
            record["label"],
            each.key[:SHORT],
            _when(record["made_at"]),
            _size(each.size),
            duration(record["measured"]["seconds"]),
            escape("; ".join(_few(record["why"], 1))),
        )
    return table


def aliases(known: list[Alias]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("name", "artifact", "since", "by"):
        table.add_column(name)
    for each in known:
        table.add_row(each.name, f"{each.step}/{each.key[:SHORT]}", _when(each.at), each.by)
    return table


def collected(console: Console, found: "Collected", *, deleted: bool) -> None:
    """What went or would go, and why the rest stays; blobs are too many to name."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("", "what", "size", "why"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=name != "why")
    goes = "[yellow]gone[/]" if deleted else "[yellow]goes[/]"
    for item in sorted(found.items, key=lambda item: (not item.keep, item.kind, item.name)):
        if item.kind != "blob":
            name = item.name if item.kind in ("artifact", "lease") else f"{item.name} ({item.kind})"
            stays = "[green]stays[/]" if item.keep else goes
            table.add_row(stays, escape(name), _size(item.size), escape(item.why))
    blobs = [item for item in found.items if item.kind == "blob"]
    if blobs:
        table.add_row(goes, f"{len(blobs)} blobs", _size(sum(item.size for item in blobs)), blobs[0].why)
    console.print(table)
    if deleted:
        console.print(f"[bold]{_size(found.freed)} freed[/]")
    else:
        hint = "; `reground gc --delete` does it" if any(not item.keep for item in found.items) else ""
        console.print(f"[bold]{_size(found.freed)} would be freed[/]{hint}", highlight=False)


def findings(console: Console, found: "list[Finding]") -> None:
    """One line per flaw: where, what, and what was done about it."""
    for each in found:
        mark = "[yellow]▸[/]" if each.mended else "[bold red]✗[/]"
        console.print(f"{mark} [bold]{escape(each.where)}[/]: {escape(each.flaw)}; {each.done}", highlight=False)
    console.print(f"{len(found)} flaws" if len(found) > 1 else "1 flaw" if found else "[green]✓[/] all is whole")


def record(console: Console, artifact: Artifact) -> None:
    """The record of one artifact: where it lies, what it was made from, its config, what it cost, its files."""
    told = artifact.record
    facts = {
        "artifact": artifact.about,
        "folder": str(artifact.folder),
        "made at": told["made_at"],
        "made by": ", ".join(f"{name} {value}" for name, value in told["made_by"].items()),
        "why": "; ".join(told["why"]),
        **({"adopted": _adopted(told["adopted"])} if "adopted" in told else {}),
        **{f"from {name}": about for name, about in told["made_from"].items() if about},
        **{name.replace("_", " "): f"{value:g}" for name, value in told["measured"].items()},
        "libraries": ", ".join(f"{name} {version}" for name, version in told["payload"]["libraries"].items()),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value if name == "adopted" else escape(value))
    console.print(table)
    console.print_json(data=told["config"])
    for name, each in artifact.files.items():
        console.print(f"  {_size(each['size']):>10}  {name}", highlight=False)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
