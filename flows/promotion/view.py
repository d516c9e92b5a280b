"""Promotion in words, for the terminal and Prefect: what became of an adapter, the versions, a comparison."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows import wording
from flows.promotion.candidates import gate_decision, gate_of
from flows.promotion.compare import SideBySide
from flows.promotion.decisions import AdapterOutcome, Outcome
from flows.promotion.log import Version, read, read_state
from flows.promotion.registry import Mirrored
from flows.promotion.versions import Line
from tasks.engine.lineage import Cause, why
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.decision import plain

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"champion": "bold green", "previous": "green", "challenger": "yellow", "rolled back": "red"}


STATES: dict[Outcome, str] = {  # the state's name of the run that decided, which the list of runs shows
    "promoted": "Promoted",
    "in service": "In service",
    "refused": "Refused",
    "undecided": "Undecided",
    "waiting": "Waits for approval",
    "outdated": "Undecided",
    "kept out": "Refused",
    "rolled back": "Rolled back",
}


def sentence(decision: AdapterOutcome) -> str:
    """One line. After a retraining without the reason, which the report's headline gives."""
    mirror = mirrored(decision.mirrored) if decision.mirrored else ""
    return " ".join(filter(None, [_outcome(decision), _served(decision), mirror]))


def _served(decision: AdapterOutcome) -> str:
    """What became of it on the servers."""
    if decision.unserved and decision.outcome != "rolled back":  # else it is the reason
        return f"{decision.unserved}; `reground served --update` tries again."
    swapped = decision.swapped
    failed = [f"{each.url} not: {each.error}" for each in swapped.failed] if swapped else []
    return f"Clients are answered by {'; '.join([swapped.adapter, *failed])}." if swapped else ""


def _outcome(decision: AdapterOutcome) -> str:
    about, entry = decision.adapter, decision.entry
    end = f": {entry.why}" if decision.by_hand else "."
    match decision.outcome:
        case "promoted":
            previous = entry.state.previous
            return f"{about} is promoted{f' in place of {previous.about}' if previous else ''}{end}"
        case "in service":
            return f"{about} is in service{f' already, since {entry.minute}' if decision.by_hand else ''}{end}"
        case "refused":
            return f"{about} is refused{f' by {entry.who}' if decision.by_hand else ''}{end}"
        case "rolled back":
            return f"{about} is rolled back; {decision.champion or 'no adapter'} is in service{end}"
        case "kept out":
            verb = "rolled back" if entry.action == "rollback" else "refused"
            return f"{about} stays out of service: {verb} on {entry.minute} by {entry.who}: {entry.why}"
        case "undecided":
            return f"{about} is not promoted: the gate cannot decide."
        case "outdated":
            return f"{entry.why}; the next run compares again"
        case "waiting":
            return f"Waits for {_waits_for(decision.waits_for or 'approval')}: {about} may be promoted."


def _waits_for(what: str) -> str:
    known = {"command": "`reground promote`", "approval": "approval in the flow promote"}
    return known.get(what, f"approval in a run of {what}")


def mirrored(update: Mirrored) -> str:
    if update.error:
        return f"Not mirrored to MLflow: {update.error}; `reground promote --mirror` tries again."
    aliases = ", ".join(f"{name} is version {number}" for name, number in update.versions.items())
    return f"MLflow model {update.model}: {aliases or 'no champion'}."


def decided(store: Store, decision: AdapterOutcome, headline: str) -> str:
    """Markdown of what became of an adapter, and of what the gate found, rule by rule."""
    gate = store.open(*decision.entry.gate.split("/")) if decision.entry.gate else None
    verdicts = gate_decision(gate).verdicts if gate else ()
    rules = [f"- {each.label} against {each.against}: {each.reason}" for each in verdicts]
    return "\n".join([f"# {STATES[decision.outcome]}", "", sentence(decision), "", headline, "", *rules])


def approval_form(store: Store, adapter: Artifact) -> str:
    """Markdown for the person who is asked: what would be promoted, what it replaces, and what the gate found."""
    gate, champion = gate_of(store, adapter), read_state(store).champion
    decision = gate_decision(gate) if gate else None
    lines = [f"Promote **{adapter.about}**{f' in place of **{champion.about}**' if champion else ''}?", ""]
    lines += [f"The gate says {decision.decision}: {decision.why}", ""] if decision else ["No gate judged it.", ""]
    verdicts = decision.verdicts if decision else ()
    return "\n".join(lines + [f"- {each.label} against {each.against}: {each.reason}" for each in verdicts])


def history_entries(store: Store) -> list[dict[str, Any]]:
    """The promotion log's entries for the history page, with what their gates measured and what was changed."""
    return [
        asdict(entry) | {"comparisons": _comparisons(store, entry.gate), "changed": _changed(store, entry.version)}
        for entry in read(store).entries
    ]


def _comparisons(store: Store, gate: str | None) -> list[dict[str, Any]]:
    """The gate's comparison with the base; empty if there was no gate or the store no longer has it."""
    artifact = store.open(*gate.split("/")) if gate else None
    return plain(gate_decision(artifact).comparisons.get("base") or ()) if artifact else []


def _changed(store: Store, version: Version) -> list[str]:
    """What of data, recipe or code changed, from the training on back to the user's files."""
    artifact = store.open(version.step, version.key)
    return list(dict.fromkeys(_leaves(why(artifact)))) if artifact else []


def _leaves(cause: Cause) -> list[str]:
    found = []
    for change in cause.why.changes:
        behind = cause.inputs.get(change.name) if change.kind == "input" else None
        found += _leaves(behind) if behind else [wording.change(change)]
    return found


def versions_table(console: "Console", lines: Sequence[Line]) -> None:
    """One adapter a row, the newest decision first, with its reason."""
    from rich.markup import escape
    from rich.table import Table

    if not lines:
        console.print("There is no adapter yet: `reground retrain` makes one.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("adapter", "state", "since, by", "gate"):
        table.add_column(name, no_wrap=True)
    table.add_column("why")
    for each in lines:
        gate = (each.decision or "–") + ("\nby hand" if each.by_hand else "")
        figures = "".join(f"\n[dim]{escape(line)}[/]" for line in _figures(each))
        state = f"[{COLOURS.get(each.state, 'default')}]{each.state}[/]"
        size = "gone" if each.size is None else wording.size(each.size)
        since = f"{_minute(each.at)}\n{escape(each.by)}"
        table.add_row(f"{each.adapter}\n{size}", state, since, gate, escape(each.why) + figures)
    console.print(table)


def versions_markdown(lines: Sequence[Line]) -> str:
    from tasks.reporting.rendering import cell

    head = "| adapter | state | since | by | gate | figures | why |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {each.adapter} | {each.state} | {_minute(each.at)} | {each.by} | {each.decision or ''} "
        f"| {'; '.join(_figures(each))} | {cell(each.why)} |\n"
        for each in lines
    )


def comparison_table(console: "Console", compared: SideBySide) -> None:
    """The metrics that differ come first; a difference is the second figure less the first."""
    from tasks.reporting.figures import count
    from tasks.reporting.terminal import comparison

    console.print(comparison(plain(compared.metrics), ("first", "second"), "", compared.names))
    differ = sum(metric.verdict in ("better", "worse") for metric in compared.metrics)
    questions = f"{count(compared.rows)} questions about {count(compared.documents)} documents"
    console.print(f"\n{differ} of {len(compared.metrics)} metrics differ, on the same {questions}.", highlight=False)
    which = f"{compared.questions}, as {' and '.join(compared.scores)} scored them"
    console.print(f"They are {which}.", style="dim", highlight=False)


def _figures(line: Line) -> list[str]:
    """The changes that the gate saw, and on which questions: those of other lines may be others."""
    figures = [f"{each.label} {each.value:+.2f} on {each.against}" for each in line.figures]
    return [*figures, f"questions: {line.questions}"] if figures and line.questions else figures


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")
