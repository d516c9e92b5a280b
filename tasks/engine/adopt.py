"""Adopt: take over an artifact under a new key, after a change of code or libraries that changes no output."""

from collections.abc import Callable
from datetime import UTC, datetime

from tasks.engine.errors import UserError
from tasks.engine.make import record_of
from tasks.engine.plan import Planned, Planner
from tasks.engine.record import Adoption, Change
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.process import Process
from tasks.engine.storage.store import Store

ONLY_MOVED = "proven: the same code in other files"
ADOPTABLE = {"code", "moved", "setting_added", "library"}  # kinds of change that a person can know to change no output


def adopt(planner: Planner, wanted: str, because: str) -> list[Artifact]:
    """Adopt for each stale step of a plan that has this name or label; returns the artifacts under their new keys.

    The files are the same, so later steps stay fresh. The record says from where, why, by whom and when. Raises
    UserError, with nothing adopted, if another change than of code or libraries is in the way.
    """
    if not because.strip():
        raise UserError("--because is empty", "say why the change cannot change the output; it goes on the record")
    named = [each for each in planner.steps if wanted in (each.label, each.request.step.name)]
    if not named:
        labels = ", ".join(each.label for each in planner.steps)
        raise UserError(f"there is no step {wanted!r}", f"choose one of {labels}")
    stale = [each for each in named if each.status != "fresh"]
    if not stale:
        raise UserError(f"{wanted} is fresh: there is nothing to adopt", "`reground plan` says what is stale")
    sources = [_source(each, planner.store) for each in stale]
    adopted = [_take(each, old, planner.store, because) for each, old in zip(stale, sources, strict=True)]
    # The next plan compares with these.
    used = {each.label: artifact for each, artifact in zip(stale, adopted, strict=True)}
    planner.store.log_fresh_run(planner.name, used)
    return adopted


def adopt_moved(plan: Callable[[], Planner]) -> list[Artifact]:
    """Adopt every artifact that differs from its request by proven moves of code alone; `plan` makes a new plan.

    No judgement is needed: each definition that the step reaches has the same text, and each name in it means the same.
    Steps that need an adopted one come with the next plan.
    """
    adopted: list[Artifact] = []
    while True:
        planner = plan()
        labels = [each.label for each in planner.steps if each.status == "stale" and _only_moved(each)]
        if not labels:
            return adopted
        adopted += (artifact for label in labels for artifact in adopt(planner, label, ONLY_MOVED))


def _only_moved(planned: Planned) -> bool:
    return bool(planned.changes) and all(change.kind == "moved" for change in planned.changes)


def _source(planned: Planned, store: Store) -> Artifact:
    """The artifact to take over, or a UserError that says what is in the way."""
    label, old, why = planned.label, planned.before, planned.why
    if why and why.needs:
        raise UserError(f"{label} needs {', '.join(why.needs)} first, so its inputs are not known", "adopt those first")
    if old is None:
        raise UserError(f"{label}: the store has no earlier artifact to adopt", "run `reground retrain`")
    others = [_what(change) for change in planned.changes if change.kind not in ADOPTABLE]
    if others:
        raise UserError(
            f"{label}: not only code or libraries changed: {', '.join(others)}",
            "adopting would pass off another recipe's output as this one's; run `reground retrain`",
        )
    if not planned.changes:
        gone = why.problem if why and why.problem else "its artifact was deleted"
        raise UserError(f"{label}: {gone}; its code did not change", "run `reground retrain`")
    if problem := store.problem(old.step, old.key):
        raise UserError(f"{old.about} cannot be adopted: {problem}", "run `reground retrain`")
    return old


def _what(change: Change) -> str:
    return f"{change.kind}.{change.name}" if change.kind == "config" else f"{change.kind} {change.name}"


def _take(planned: Planned, old: Artifact, store: Store, because: str) -> Artifact:
    request = planned.request
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = record_of(
        request,
        measured=old.record.measured,
        why=planned.why,
        before=old,
        adopted=Adoption(source=old.about, because=because, by=Process.this().user, at=now),
    )
    with store.lease(request.step.name, request.key), store.blobs.staging() as out:
        folder = old.folder
        for name in old.files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            store.digests.link(folder / name, out / name)
        return store.publish(request.step.name, request.key, out, record.model_dump(mode="json"))
