"""Adapters by what became of them: the promotion log and the store, one line for each adapter."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows import wording
from flows.promotion import log as promotion_log
from flows.promotion.candidates import ADAPTERS, asked, version
from flows.promotion.log import Entry, Log, same
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import SHORT, Store

FIGURES = 3  # of the gate, in a line
BECAME = {"promote": "was champion", "challenge": "challenged", "refuse": "refused", "rollback": "rolled back"}


class Figure(BaseModel):
    """The change of a metric that the gate judged; `against` is champion, base or trained."""

    model_config = ConfigDict(frozen=True)

    metric: str
    label: str
    value: float
    against: str


class Line(BaseModel):
    """One adapter: what it is now, since when and by whose decision, and its key figures.

    `state` is champion, previous or challenger, or what became of it. `decision` is the gate's, None if none judged it;
    `figures` are changes against the champion, or the base if there was none, on `questions`: the evaluation set, None
    if the store no longer has the gate. `size` is in bytes, None if the store no longer has it.
    """

    model_config = ConfigDict(frozen=True)

    adapter: str
    state: str
    at: str
    by: str
    why: str
    by_hand: bool = False
    decision: str | None = None
    figures: list[Figure] = []
    questions: str | None = None
    size: int | None
    gate: str | None = None
    report: str | None = None


def versions(store: Store) -> list[Line]:
    """The newest entry of each adapter first; then the adapters in the store that have no entry."""
    log = promotion_log.read(store)
    exported = {f"{each.step}/{each.key}": each for each in store.all(ADAPTERS)}
    newest: list[Entry] = []
    for entry in reversed(log.entries):
        if not any(same(entry.version, each.version) for each in newest):
            newest.append(entry)
    known = [entry.version for entry in newest]
    rest = [each for each in exported.values() if not any(same(version(each), one) for one in known)]
    lines = [_line(store, log, entry, exported.get(entry.adapter)) for entry in newest]
    return lines + [_without_entry(adapter) for adapter in reversed(rest)]


def _line(store: Store, log: Log, entry: Entry, artifact: Artifact | None) -> Line:
    role = next((name for name, each in log.state.roles().items() if same(each, entry.version)), None)
    judged = log.last_with_gate(entry.version)
    since = log.entries[log.state.roles()[role].since - 1] if role else entry
    return Line(
        adapter=entry.about,
        state=role or BECAME[entry.action],
        at=since.at,
        by=since.who,
        why=since.why,
        by_hand=since.by_hand,
        decision=judged.decision if judged else None,
        figures=_figures(judged.verdicts) if judged else [],
        questions=_questions(store, judged.gate) if judged else None,
        size=artifact.size if artifact else None,
        gate=_short(judged.gate) if judged else None,
        report=_short(judged.report) if judged else None,
    )


def _without_entry(adapter: Artifact) -> Line:
    record = adapter.record
    by = f"{record.made_by['user']}@{record.made_by['host']}" if record.made_by else ""
    why = wording.in_short(wording.reasons(record.why))
    return Line(adapter=adapter.about, state="made", at=record.made_at, by=by, why=why, size=adapter.size)


def _figures(verdicts: Sequence[dict[str, Any]]) -> list[Figure]:
    """One a metric, what had to be better first, and against the champion before the base."""
    known = [each for each in verdicts if each.get("value") is not None and each["must"] != "at_least"]
    known.sort(key=lambda each: (each["against"] == "trained", each["against"] != "champion", each["must"] != "better"))
    one_each = {each["metric"]: each for each in reversed(known)}
    first = [each for each in known if one_each[each["metric"]] is each][:FIGURES]
    return [Figure(**{name: each[name] for name in Figure.model_fields}) for each in first]


def _questions(store: Store, gate: str | None) -> str | None:
    judged = store.open(*gate.split("/")) if gate else None
    scores = judged.input_artifact("tuned_scores") if judged else None
    return asked(scores).about if scores else None


def _short(name: str | None) -> str | None:
    step, _, key = (name or "").partition("/")
    return f"{step}/{key[:SHORT]}" if key else None
