"""The one place where a step becomes a Prefect task.

Prefect's cache knows a key's record; only the store knows whether the artifact is whole. So the store is asked first,
and a record whose artifact is flawed is passed over (`refresh_cache`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Completed

from tasks.versioning.inputs import Input
from tasks.versioning.key import Request
from tasks.versioning.make import make
from tasks.versioning.plan import Planned, last_used, look
from tasks.versioning.runs import RunLog
from tasks.versioning.spread import Spread, here
from tasks.versioning.step import Config, Step
from tasks.versioning.store import SHORT, Artifact, Store

Tell = Callable[[Planned, bool], None]  # told of each step before it starts (False) and when it is done (True)


def silent(planned: Planned, done: bool) -> None:
    """Tell nobody; Prefect's own log and pages show the steps."""


Reference = dict[str, str]  # {"step", "key", "digest"}: what Prefect keeps; the bytes stay in the store


class KeyPolicy(CachePolicy):
    """Our key as Prefect's. It was computed before the task was called, because Prefect swallows errors here."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str:
        key: str = inputs["key"]
        return f"{task_ctx.task.name}-{key}".replace(" ", "-")


class TaskRunner:
    """Called by the pipeline for each step; runs it as a task of the current flow run.

    `name` is the config's; `log` is told of every artifact that the run uses.
    """

    def __init__(
        self, store: Store, *, name: str = "", tell: Tell = silent, spread: Spread = here, log: RunLog | None = None
    ) -> None:
        self.store = store
        self.spread = spread
        self.tell = tell
        self.log = log
        self.used = last_used(store, name)
        store.sweep()

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact:
        request = Request(step, config, inputs, label or step.name)
        planned = look(request, self.store, self.used)
        whole = planned.status == "fresh"

        @task(
            name=request.label,
            task_run_name=f"{request.label} {request.key[:8]}",
            cache_policy=KeyPolicy(),
            refresh_cache=not whole,
            persist_result=True,
            # Never in the store: Prefect unpickles a record that says it is a pickle, so who could write it could run
            # code here. Nor need others see it: what is whole but has no record shows as Cached as well.
            result_storage=PREFECT_LOCAL_STORAGE_PATH.value(),
            result_serializer="json",
            # No tags: for every task that has one the server is asked whether they are limited.
        )
        def work(key: str) -> Reference | State[Reference]:
            log = get_run_logger()
            for reason in planned.why:
                log.info("%s runs: %s", request.label, reason)
            asked = {"flow_run": flow_run.get_name(), "task_run": str(task_run.get_id())}
            artifact, there = make(
                request, self.store, why=planned.why, before=planned.before, run=asked, spread=self.spread
            )
            _show(artifact, request.label)
            reference = {"step": step.name, "key": key, "digest": artifact.digest}
            # The artifact is whole but Prefect had no record of it: another machine, or a new Prefect home.
            return Completed(name="Cached", data=reference) if there else reference

        self.tell(planned, False)
        if self.log and not whole:
            self.log.catch_up()
        work(request.key)
        artifact = self.store.open(step.name, request.key)
        assert artifact is not None
        if self.log:
            self.log.step_done(request.label, artifact, at_once=not whole)
        self.tell(replace(planned, artifact=artifact, seconds=artifact.record["measured"]["seconds"]), True)
        return artifact


def _show(artifact: Artifact, label: str) -> None:
    """The step's own report, and how it came to be, on the run's Artifacts tab."""
    record = artifact.record
    report = artifact.folder / "report.md"
    rows = [
        ("key", f"`{artifact.key[:SHORT]}`"),
        ("files", f"{len(artifact.files)}, {artifact.size / 2**20:.2f} MiB"),
        ("took", f"{record['measured']['seconds']:.1f} s"),
        ("why", "; ".join(record["why"])),
        *((f"from {name}", about) for name, about in record["made_from"].items() if about),
    ]
    head = "\n".join(f"| {name} | {text} |" for name, text in rows)
    body = report.read_text(encoding="utf-8") if report.exists() else ""
    create_markdown_artifact(f"| | |\n|---|---|\n{head}\n\n{body}", key=label.replace(" ", "-"), description=label)
