"""What would run, and why: the pipeline's own wiring, walked without running a step."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.versioning.inputs import Input
from tasks.versioning.key import Request, differences
from tasks.versioning.step import Config, Step
from tasks.versioning.store import Artifact, Store

Status = Literal["fresh", "stale", "waits"]


@dataclass(frozen=True)
class Pending:
    """The output of a step that has still to run: no digest yet."""

    about: str
    digest: None = None

    def local(self) -> Any:
        raise RuntimeError(f"{self.about} has not been made yet")

    def __getitem__(self, part: str) -> "Pending":
        return Pending(f"{self.about}/{part}")


@dataclass(frozen=True)
class Planned:
    """One step's line in a plan.

    fresh: its artifact is whole. stale: it will run, `why` says what changed. waits: it depends on a step that will
    run; should that step write the same bytes as before, this one stays as it is.
    """

    label: str
    status: Status
    why: list[str]
    artifact: Artifact | None = None
    seconds: float | None = None  # what it cost the last time


@dataclass
class Planner:
    """Called by the pipeline in place of a runner; collects one `Planned` per step."""

    store: Store
    steps: list[Planned] = field(default_factory=list)

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact | Pending:
        request = Request(step, config, inputs, label or step.name)
        planned = look(request, self.store)
        self.steps.append(planned)
        return planned.artifact or Pending(request.label)

    @property
    def fresh(self) -> bool:
        return all(each.status == "fresh" for each in self.steps)


def look(request: Request, store: Store) -> Planned:
    """Whether the request's artifact is whole, and if not, what changed since the last one like it."""
    before = last_like(request, store)
    seconds = before.record["measured"]["seconds"] if before else None
    if not request.known:
        waits_for = [each.about for each in request.inputs.values() if each and each.digest is None]
        return Planned(request.label, "waits", [f"needs {', '.join(waits_for)}"], seconds=seconds)
    flaw = store.flaw(request.step.name, request.key)
    if flaw is None:
        artifact = store.open(request.step.name, request.key)
        assert artifact is not None
        return Planned(request.label, "fresh", [], artifact, artifact.record["measured"]["seconds"])
    if before is None or flaw != "never made":
        return Planned(request.label, "stale", [flaw], seconds=seconds)
    return Planned(request.label, "stale", differences(before.record["payload"], request.payload), seconds=seconds)


def last_like(request: Request, store: Store) -> Artifact | None:
    """The newest artifact that a request of this label made."""
    alike = [a for a in store.all(request.step.name) if a.record["label"] == request.label]
    return alike[-1] if alike else None
