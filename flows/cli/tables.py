"""How plans, runs, records and answers look in a terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from flows import wording
from flows.wording import cost, duration, in_short, moment, size
from tasks.engine.lineage import Cause, Edge, Lineage
from tasks.engine.plan import Planned
from tasks.engine.storage.references import Alias
from tasks.engine.storage.store import SHORT, Artifact

if TYPE_CHECKING:
    from flows.promotion.projects import Project
    from flows.review.decisions import Applied
    from flows.synthesis import Merged, Synthesized
    from tasks.engine.storage.fsck import Finding
    from tasks.engine.storage.gc import Collected

COLOURS = {"fresh": "green", "stale": "yellow", "waits": "cyan"}


def plan(console: Console, steps: list[Planned], power: tuple[str, str]) -> None:
    """One row per step: what would happen, why, and what it will cost by earlier records; then the total and power."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("will take", justify="right", no_wrap=True)
    table.add_column("why")
    for step in steps:
        status = f"[{COLOURS[step.status]}]{step.status}[/]"
        why = in_short(wording.planned(step), separator="\n")
        table.add_row(step.label, status, cost(step.seconds, step.gpu_seconds), escape(why))
    console.print(table)
    console.print(f"\n{_total(steps)}", highlight=False)
    console.print(f"Evaluation: {power[0]}.", highlight=False)
    if power[1]:
        console.print(f"[dim]→[/] {power[1]}", highlight=False)


def _total(steps: list[Planned]) -> str:
    """`2 of 10 steps are stale: about 2.1 min. 4 wait for what they write: up to 31.0 s.`"""
    stale = [step for step in steps if step.status == "stale"]
    waits = [step for step in steps if step.status == "waits"]
    if not stale:
        return f"All {len(steps)} steps are fresh: nothing would run."
    if not any(step.before for step in steps):
        return f"The store is empty: {len(steps)} steps would run, and no record tells what they cost."
    text = f"{len(stale)} of {len(steps)} steps {'is' if len(stale) == 1 else 'are'} stale{_sum(stale, 'about')}."
    if waits:
        text += f" {len(waits)} wait{'s' * (len(waits) == 1)} for what they write{_sum(waits, 'up to')}."
    return text


def _sum(steps: list[Planned], about: str) -> str:
    known = [step for step in steps if step.seconds is not None]
    if not known:
        return ", and never ran here, so the cost is not known"
    gpu = sum(step.gpu_seconds or 0 for step in known)
    text = f": {about} {cost(sum(step.seconds or 0 for step in known), gpu)}"
    return text + (f", and {len(steps) - len(known)} that never ran here" if len(known) < len(steps) else "")


def why(console: Console, cause: Cause) -> None:
    """An artifact and the reasons for it; below an input that changed, the reasons for that. Each is shown once."""
    console.print(_cause(cause, set()), highlight=False)


def _cause(cause: Cause, seen: set[str], reason: str = "") -> Tree:
    head = (f"{escape(reason)} ← " if reason else "") + f"[bold]{cause.artifact}[/]"
    if cause.artifact in seen:
        return Tree(f"{head} [dim]as above[/]")
    seen.add(cause.artifact)
    tree = Tree(f"{head} [dim]{cause.label}, made {moment(cause.made_at)}[/]")
    if cause.adopted:
        tree.add(f"[yellow]{escape(wording.adopted(cause.adopted))}[/]")
    for line in wording.besides_changes(cause.why) if cause.why.changes else wording.reasons(cause.why):
        tree.add(escape(line))
    for change in cause.why.changes:
        behind = cause.inputs.get(change.name) if change.kind == "input" else None
        text = wording.change(change)
        tree.add(_cause(behind, seen, text) if behind else escape(text))
    return tree


def lineage(console: Console, found: Lineage) -> None:
    """The artifact above what it was made from. What was shown in full is not shown again."""
    if found.chain:
        console.print(f"{len(found.chain)} trainings, each from the one before: {' → '.join(found.chain)}")
    console.print(_ancestors(found, found.artifact, set()), highlight=False)


def _ancestors(found: Lineage, name: str, seen: set[str], edge: Edge | None = None) -> Tree:
    node, edges = next(each for each in found.nodes if each.name == name), found.into(name)
    text = f"{', '.join(edge.inputs)} ← " if edge else ""
    text += f"[bold]{escape(name)}[/]" + (f" [dim]{node.label}, made {moment(node.made_at)}[/]" if node.label else "")
    text += "" if node.in_store else " [red]no longer in the store[/]"
    text += f" [yellow]{escape(wording.adopted(node.adopted))}[/]" if node.adopted else ""
    tree = Tree(text + (" [dim]as above[/]" if name in seen and edges else ""))
    if name not in seen:
        seen.add(name)
        for each in edges:
            tree.add(_ancestors(found, each.source, seen, each))
    return tree


def on_step(console: Console) -> Callable[[Planned, bool], None]:
    """Shows a step when it starts and when it is done."""
    return lambda step, done: (step_done if done else step_starts)(console, step)


def step_starts(console: Console, step: Planned) -> None:
    if step.status != "fresh":
        why = in_short(wording.planned(step))
        console.print(f"[yellow]▸[/] [bold]{step.label}[/] [dim]{escape(why)}[/]", highlight=False)


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
    """Base against tuned, what it means, and where the rest of the report is."""
    from tasks.reporting.terminal import table

    console.print()
    console.print(table(report))
    console.print(f"\n[bold]{escape(report['sentence'])}[/]\n{escape(report['headline'])}", highlight=False)
    for warning in report["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/]", highlight=False)
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


def synthesized(console: Console, made: "Synthesized", merged: "Merged", out: Path) -> None:
    """What was read, asked and left out, and what became of the file's rows."""
    read, asked, checked = (orjson.loads((each.folder / "report.json").read_bytes()) for each in made[:3])
    for each in read["unread"]:
        console.print(f"[yellow]left out:[/] {escape(each['what'])}; {escape(each['remedy'])}", highlight=False)
    yours = f"{merged.edited:,} edited, {merged.deleted:,} deleted; they stay so"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(asked["kinds"].items()))
    said = {
        "documents": f"{read['documents']:,}, in {read['chunks']:,} passages",
        "languages": ", ".join(f"{code} {count:,}" for code, count in sorted(asked["languages"].items())),
        "questions": f"{asked['drafts']:,}: {kinds}",
        "rejected": f"{checked['rows']['rejected']:,} by validation" if checked["rows"]["rejected"] else "",
        "left out": ", ".join(f"{count:,} {why}" for why, count in sorted(asked.get("left_out", {}).items())),
        "spent": ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in asked.get("cost", {}).items()),
        "rows": f"{merged.added:,} new, {merged.renewed:,} written anew, {merged.kept:,} as they were, "
        f"{merged.removed:,} gone with their source",
        "yours": yours if merged.edited + merged.deleted else "",
    }
    for name, text in said.items():
        if text:
            console.print(f"{name:<12}{escape(text)}", highlight=False)
    for name in merged.outdated:
        console.print(f"[yellow]look again:[/] {escape(name)}: you edited it, and its passage changed", highlight=False)
    console.print(f"{out}{'' if merged.changed else ' is up to date'}", soft_wrap=True, highlight=False)


def applied(console: Console, found: "Applied", agreement: tuple[int, int], file: Path) -> None:
    """What of the reviewers' decisions is in the file, and what is not."""
    several, agreed = agreement
    if several:
        console.print(
            f"of {several:,} rows that several people decided they agree on {agreed:,} ({agreed / several:.0%})"
        )
    for names, why in (
        (found.disputed, "reviewers disagree"),
        (found.changed, "the row changed after it was reviewed"),
    ):
        for name in names:
            console.print(f"[yellow]left as it is:[/] {escape(name)}: {why}", highlight=False)
    told = f"{found.edited:,} edited, {found.rejected:,} taken out, {found.accepted:,} accepted"
    console.print(f"{file}: {told}", highlight=False, soft_wrap=True)


def prompt(console: Console, notes: dict[str, bool], asked: list[int], learnt: list[int], tokenizer: Any) -> None:
    """The text of a row and its tokens, those that are trained on in green."""
    from rich.text import Text

    for ids, style in ((asked, ""), (learnt, "green")):
        console.print(Text(tokenizer.decode(ids), style), end="", soft_wrap=True)
    pieces = Text("\n\n")
    for ids, style in ((asked, ""), (learnt, "green")):
        for id_ in ids:
            pieces.append(f"{id_} ", "dim").append(f"{tokenizer.decode([id_])!r}  ", style)
    console.print(pieces)
    console.print(f"\n{len(asked)} tokens of the prompt, {len(learnt)} of the answer; as training, answering and the")
    console.print(
        "exported chat template have them" + "".join(f"; {wording.PROMPTS[name]}" for name in notes if notes[name])
    )


def artifacts(found: list[Artifact]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("step", "key", "made at", "size", "took", "why"):
        table.add_column(name, justify="right" if name in ("size", "took") else "left", no_wrap=name != "why")
    for each in found:
        record = each.record
        table.add_row(
            record.label,
            each.key[:SHORT],
            moment(record.made_at),
            size(each.size),
            duration(record.seconds),
            escape(in_short(wording.reasons(record.why), 1)),
        )
    return table


def aliases(known: list[Alias]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("name", "artifact", "since", "by"):
        table.add_column(name)
    for each in known:
        table.add_row(each.name, f"{each.step}/{each.key[:SHORT]}", moment(each.at), each.by)
    return table


def projects(console: Console, known: "list[Project]") -> None:
    if not known:
        console.print("There is no project yet: `reground retrain` makes one.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("project", "champion", "since", "waits", "runs", "last run"):
        table.add_column(name, justify="right" if name == "runs" else "left", no_wrap=True)
    for each in known:
        since, last = (moment(at[:16]) if at else "" for at in (each.since, each.last_run))
        table.add_row(each.project, each.champion or "–", since, each.challenger or "–", str(each.runs), last)
    console.print(table)


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
            table.add_row(stays, escape(name), size(item.size), escape(item.why))
    blobs = [item for item in found.items if item.kind == "blob"]
    if blobs:
        table.add_row(goes, f"{len(blobs)} blobs", size(sum(item.size for item in blobs)), blobs[0].why)
    console.print(table)
    if deleted:
        console.print(f"[bold]{size(found.freed)} freed[/]")
    else:
        hint = "; `reground gc --delete` does it" if any(not item.keep for item in found.items) else ""
        console.print(f"[bold]{size(found.freed)} would be freed[/]{hint}", highlight=False)


def findings(console: Console, found: "list[Finding]") -> None:
    """One line per problem: where, what, and what was done about it."""
    for each in found:
        mark = "[yellow]▸[/]" if each.mended else "[bold red]✗[/]"
        console.print(f"{mark} [bold]{escape(each.where)}[/]: {escape(each.problem)}; {each.done}", highlight=False)
    console.print(
        f"{len(found)} problems" if len(found) > 1 else "1 problem" if found else "[green]✓[/] everything is intact"
    )


def record(console: Console, artifact: Artifact) -> None:
    """The record of one artifact: where it lies, what it was made from, its config, what it cost, its files."""
    record = artifact.record
    facts = {
        "artifact": artifact.about,
        "folder": str(artifact.folder),
        "made at": record.made_at,
        "made by": ", ".join(f"{name} {value}" for name, value in record.made_by.items()),
        "why": "; ".join(wording.reasons(record.why)),
        **({"adopted": wording.adopted(record.adopted)} if record.adopted else {}),
        **{f"from {name}": origin.about for name, origin in record.inputs.items() if origin},
        **{name.replace("_", " "): f"{value:g}" for name, value in record.measured.items()},
        "libraries": ", ".join(f"{name} {version}" for name, version in record.libraries.items()),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, escape(value), style="yellow" if name == "adopted" else None)
    console.print(table)
    console.print_json(data=record.config)
    for name, each in artifact.files.items():
        console.print(f"  {size(each['size']):>10}  {name}", highlight=False)
