"""What would run, why, and at what cost: the pipeline's own wiring, walked without running a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.engine.changes import changes
from tasks.engine.inputs import Input
from tasks.engine.key import Request
from tasks.engine.record import Change, PlanLine, Reason, Record, Status
from tasks.engine.step import Config, Step, check_part
from tasks.engine.storage.store import Artifact, Store

Used = Mapping[str, Mapping[str, str]]  # label → {"step", "key"} of the artifact that the last run used
SIZED_BY = "base"  # the input by which a step takes seconds or hours
RECENT = 50  # runs that are asked what they used


@dataclass(frozen=True)
class Pending:
    """The output of a step that has still to run: no digest yet.

    `share` is how much of it may be new, `parts` are those that the step declares.
    """

    label: str
    share: float = 1.0
    parts: tuple[str, ...] = ()
    digest: None = None

    @property
    def about(self) -> str:
        return self.label

    def local(self) -> Any:
        raise RuntimeError(f"{self.label} has not run yet")

    def __getitem__(self, part: str) -> "Pending":
        check_part(self.label, part, self.parts)
        return replace(self, parts=())


@dataclass(frozen=True)
class Planned:
    """One step's line in a plan; see `PlanLine`."""

    request: Request
    status: Status
    why: Reason | None = None  # None if fresh
    artifact: Artifact | None = None
    seconds: float | None = None
    gpu_seconds: float | None = None
    share: float = 1.0  # of its work that is to be done
    before: Artifact | None = None  # what it is compared with

    @property
    def label(self) -> str:
        return self.request.label

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.why.changes if self.why else ()

    @property
    def line(self) -> PlanLine:
        return PlanLine(
            label=self.label,
            step=self.request.step.name,
            status=self.status,
            why=self.why,
            seconds=self.seconds,
            gpu_seconds=self.gpu_seconds,
            key=None if self.status == "waits" else self.request.key,
        )


@dataclass
class Planner:
    """Called by the pipeline in place of a runner; collects one `Planned` per step.

    `name` is the config's: a step is compared with what the last run of that config used.
    """

    store: Store
    name: str = ""
    steps: list[Planned] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._used = last_used(self.store, self.name)

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact | Pending:
        planned = plan_step(Request(step, config, inputs, label or step.name), self.store, self._used)
        self.steps.append(planned)
        return planned.artifact or Pending(planned.label, planned.share, step.parts)

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Those that are there, by label."""
        return {each.label: each.artifact for each in self.steps if each.artifact}

    @property
    def fresh(self) -> bool:
        return all(each.status == "fresh" for each in self.steps)


def plan_step(request: Request, store: Store, used: Used | None = None) -> Planned:
    """Whether the request's artifact is intact, and if not, what changed since the last one of its label."""
    step = request.step
    pending = {name: each for name, each in request.inputs.items() if isinstance(each, Pending)}
    problem = None if pending else store.problem(step.name, request.key)
    if not pending and problem is None:
        artifact = store.open(step.name, request.key)
        assert artifact is not None
        return Planned(request, "fresh", None, replace(artifact, parts=step.parts), 0.0, 0.0)
    before, deleted = _baseline(request, store, used or {})
    found = changes(before, request) if before else ()
    share = _share(step, found, pending) if before else 1.0
    timed = _timed(request, before, store) if before else None
    seconds, gpu_seconds = _cost(timed.record, share) if timed else (None, None)
    if pending:
        why = Reason(needs=tuple(dict.fromkeys(each.label for each in pending.values())), changes=found)
    elif problem and not problem.missing:
        why = Reason(state="corrupt", problem=problem.text, changes=found)
    else:
        why = Reason(state="deleted" if deleted else "missing", changes=found)
    return Planned(request, "waits" if pending else "stale", why, None, seconds, gpu_seconds, share, before)


def last_used(store: Store, name: str = "") -> Used:
    """Which artifact each label last had, in runs of the config `name` before others."""
    runs = store.runs(RECENT)
    used: dict[str, Mapping[str, str]] = {}
    for ours in (False, True):
        for run in reversed(runs):
            if (run.name == name) == ours:
                used |= run.steps
    return used


def _baseline(request: Request, store: Store, used: Used) -> tuple[Artifact | None, bool]:
    """What the label had in the last run, else its newest artifact; and whether the former is the key, and gone."""
    last = used.get(request.label)
    found = store.open(last["step"], last["key"]) if last and last["step"] == request.step.name else None
    if found and found.has_record:
        return found, False
    same_label = [each for each in store.all(request.step.name) if each.record.label == request.label]
    return (same_label[-1] if same_label else None), bool(last and request.known and last["key"] == request.key)


def _share(step: Step, found: tuple[Change, ...], pending: Mapping[str, Pending]) -> float:
    """The part of the work that is to be done: less than all where only inputs changed, and those in part."""
    parts = {**{each.name: each.share for each in found}, **{name: each.share for name, each in pending.items()}}
    in_part = step.takes("earlier") and all(each.kind == "input" for each in found)
    if not parts or not in_part or (step.rowwise and set(parts) - set(step.rowwise)):
        return 1.0
    return max(parts.values())


def _timed(request: Request, before: Artifact, store: Store) -> Artifact | None:
    """The artifact of this label whose record tells best what all of the work costs: the one that did most of it.

    None if the step never ran with this base model: another one may be a hundred times as large.
    """
    base = request.inputs.get(SIZED_BY)

    def alike(each: Artifact) -> bool:
        origin = each.record.inputs.get(SIZED_BY)
        return base is None or (origin is not None and origin.digest == base.digest)

    if alike(before) and _done(before.record) > 0.5:  # the newest, then: machines change
        return before
    same_label = [each for each in store.all(before.step) if each.record.label == before.record.label]
    return max(filter(alike, reversed(same_label)), key=lambda each: _done(each.record), default=None)


def _cost(record: Record, share: float) -> tuple[float, float]:
    """Seconds, and seconds of GPUs, by the record of an earlier run; scaled if that did only a part of the work."""
    scale = share / _done(record)
    return round(record.seconds * scale, 3), round(record.measured.get("gpu_seconds", 0.0) * scale, 3)


def _done(record: Record) -> float:
    """The part of the work that a run did itself: its record says `rows_taken_over` beside `rows_measured`, say."""
    for name, taken in record.measured.items():
        unit, _, how = name.partition("_")
        if how == "taken_over":
            total = sum(count for other, count in record.measured.items() if other.startswith(f"{unit}_"))
            return (total - taken) / total if total > taken else 1.0
    return 1.0
