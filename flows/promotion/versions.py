"""Adapters by what became of them: the promotion log and the store, one line for each adapter."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flows import wording
from flows.promotion.history import History, same
from flows.promotion.judged import Judged, judged, weights
from flows.promotion.promotion_log import Entry, Version
from flows.promotion.promotions import ADAPTERS
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import SHORT, Store

FIGURES = 3  # of the gate, in a line
BECAME = {"promote": "was champion", "challenge": "challenged", "refuse": "refused", "rollback": "rolled back"}


@dataclass(frozen=True)
class Line:
    """One adapter: what it is now, since when and by whose decision, and its key figures.

    `state` is champion, previous or challenger, or what became of it. `decision` is the gate's, None if none judged it;
    `figures` are changes against the champion, or the base where there was none. `size` is in bytes, None if the store
    no longer has it.
    """

    adapter: str
    state: str
    at: str
    by: str
    why: str
    by_hand: bool
    decision: str | None
    figures: list[str]
    size: int | None
    gate: str | None
    report: str | None

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def versions(store: Store) -> list[Line]:
    """The newest entry of each adapter first; then those in the store that were never put up for a decision."""
    log = History(store.promotions.entries())
    exported = {f"{each.step}/{each.key}": each for each in store.all(ADAPTERS)}
    lines: list[Line] = []
    told: list[Entry] = []
    for entry in reversed(log.entries):
        if not any(same(entry, each) for each in told):
            told.append(entry)
            lines.append(_line(log, entry, exported.get(entry.adapter)))
    new = [each for each in exported.values() if not any(same(_version(each), entry) for entry in told)]
    return lines + [_never_judged(each) for each in reversed(new)]


def gate_of(store: Store, adapter: Artifact) -> Artifact | None:
    """The newest gate that judged this adapter against the champion of now, else the newest one; None if none did.

    After a rollback an older one may be the proof that counts: a run that finds it fresh makes no newer one.
    """
    champion = store.promotions.state.champion
    wanted = Judged(weights(adapter), champion.weights if champion else None)
    found = None
    for gate in store.recent("gate", most=50):
        try:
            told = judged(gate)
        except UserError:  # its scores are no longer there to tell of whom they are
            continue
        if told == wanted:
            return gate
        if told.adapter == wanted.adapter:
            found = found or gate
    return found


def report_of(store: Store, gate: Artifact) -> Artifact | None:
    """The newest report that shows what this gate decided."""
    shows = (each for each in reversed(store.all("report")) if _reads(each, gate))
    return next(shows, None)


def _reads(report: Artifact, gate: Artifact) -> bool:
    given = report.record.inputs.get("gate")
    return bool(given and given.key == gate.key)


def _line(log: History, entry: Entry, artifact: Artifact | None) -> Line:
    version = Version(entry.adapter, entry.weights, 0)
    role = next((name for name, each in log.state.roles().items() if same(each, version)), None)
    proof = log.last_judged(version)
    told = log.entries[log.state.roles()[role].since - 1] if role else entry
    return Line(
        adapter=entry.about,
        state=role or BECAME[entry.action],
        at=told.at,
        by=told.who,
        why=told.why,
        by_hand=told.by_hand,
        decision=proof.decision if proof else None,
        figures=_figures(proof.verdicts) if proof else [],
        size=artifact.size if artifact else None,
        gate=_short(proof.gate) if proof else None,
        report=_short(proof.report) if proof else None,
    )


def _never_judged(adapter: Artifact) -> Line:
    record = adapter.record
    by = f"{record.made_by['user']}@{record.made_by['host']}" if record.made_by else ""
    why = wording.in_short(wording.reasons(record.why))
    return Line(adapter.about, "made", record.made_at, by, why, False, None, [], adapter.size, None, None)


def _figures(verdicts: Sequence[dict[str, Any]]) -> list[str]:
    """`token F1 (answerable) +0.20`: what had to be better first, and against the champion before the base."""
    order = {"champion": 0, "base": 1, "trained": 2}
    known = [each for each in verdicts if each.get("value") is not None]
    known.sort(key=lambda each: (order[each["against"]], each["must"] != "better"))
    return [f"{each['label']} {each['value']:+.2f} on {each['against']}" for each in known[:FIGURES]]


def _version(adapter: Artifact) -> Version:
    return Version(f"{adapter.step}/{adapter.key}", weights(adapter), 0)


def _short(name: str | None) -> str | None:
    step, _, key = (name or "").partition("/")
    return f"{step}/{key[:SHORT]}" if key else None


def markdown(lines: Sequence[Line]) -> str:
    """The same as a Markdown table."""
    head = "| adapter | state | since | by | gate | figures | why |\n|---|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {each.adapter} | {each.state} | {each.at[:16].replace('T', ' ')} | {each.by} | {each.decision or ''} "
        f"| {'; '.join(each.figures)} | {_cell(each.why)} |\n"
        for each in lines
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
