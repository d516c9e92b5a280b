"""The one place where a step becomes a Prefect task.

Prefect's cache knows a key's record; only the store knows whether the artifact is intact. So the store is asked first,
and a record whose artifact is damaged is passed over (`refresh_cache`).
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from prefect import Task, get_run_logger, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Completed

from flows import wording
from flows.orchestration import ui_artifacts
from tasks.engine.errors import Unreachable, disk_explained
from tasks.engine.inputs import Input
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.plan import Planned, Planner, last_used, plan_step
from tasks.engine.progress import watched_by
from tasks.engine.step import Config, Step
from tasks.engine.storage.references import RunLog
from tasks.engine.storage.store import SHORT, Artifact, Store

Result = TypeVar("Result")
RETRY_AFTER = [10.0, 30.0, 60.0]  # seconds: a hub or a bucket that restarts is back within two minutes, or is not
JITTER = 0.3  # share of them, so that runs which lost the same bucket do not all come back at once
REPORT = "report.md"  # a file of a step's output

OnStep = Callable[[Planned, bool], None]  # called for each step before it starts (False) and when it is done (True)
Reference = dict[str, str]  # {"step", "key", "digest"}: what Prefect keeps; the bytes stay in the store


def no_display(planned: Planned, done: bool) -> None:
    """Show nothing: Prefect's own log and pages show the steps."""


class KeyPolicy(CachePolicy):
    """Our key as Prefect's. It was computed before the task was called, because Prefect swallows errors here."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str:
        key: str = inputs["key"]
        return f"{task_ctx.task.name}-{key}".replace(" ", "-")


class TaskRunner:
    """Called by the pipeline for each step; runs it as a task of the current flow run.

    A task's upstream tasks, as Prefect shows them, are those that made its inputs in this run. `name` is the config's;
    `because` goes on the record of what is made; `log` notes every artifact that the run uses. What `planner` has just
    found fresh is not looked for again; `make` checks that its artifact is intact.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str = "",
        on_step: OnStep = no_display,
        mapper: Mapper = map_serial,
        log: RunLog | None = None,
        planner: Planner | None = None,
        because: str = "",
    ) -> None:
        self.store = store
        self.mapper = mapper
        self.on_step = on_step
        self.log = log
        self.because = because
        self.rows: list[str] = []
        self.used = last_used(store, name)
        steps = planner.steps if planner else []
        self.fresh = {(each.label, each.request.key): each for each in steps if each.status == "fresh"}
        self.states: dict[tuple[str, str], State[Any]] = {}  # step and key → of the task that made it
        store.sweep()

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact:
        request = Request(step, config, inputs, label or step.name)
        planned = self.fresh.get((request.label, request.key)) or plan_step(request, self.store, self.used)
        fresh = planned.status == "fresh"
        if flow := FlowRunContext.get():
            # Prefect knows results by their addresses. What lies where one was freed would draw an edge that is none
            # (prefect#20558); ours are all in `wait_for`.
            flow.run_results.clear()
        self.on_step(planned, False)
        if self.log and not fresh:
            self.log.write("running")
        artifacts = {(each.step, each.key) for each in inputs.values() if isinstance(each, Artifact)}
        upstream = [state for made, state in self.states.items() if made in artifacts]
        state: State[Any] = self._task(request, planned)(request.key, return_state=True, wait_for=upstream)
        try:
            state.result()
        except Unreachable as error:
            error.waited = True
            raise
        self.states[step.name, request.key] = state
        published = self.store.open(step.name, request.key)
        assert published is not None
        artifact = replace(published, parts=step.parts)
        self.rows.append(_row(artifact, request.label, state))
        if state.name != "Cached":  # 60 ms of the server's time each; cached ones have their row in `steps`
            _show(artifact, request.label, state)
        if self.log:
            self.log.step_done(request.label, artifact, at_once=not fresh)
        self.on_step(replace(planned, artifact=artifact, seconds=artifact.record.seconds), True)
        return artifact

    def _task(self, request: Request, planned: Planned) -> Task[[str], Any]:
        @task(
            name=request.label,
            task_run_name=f"{request.label} {request.key[:8]}",
            cache_policy=KeyPolicy(),
            refresh_cache=planned.status != "fresh",
            persist_result=True,
            # Never in the store: Prefect unpickles a record that says it is a pickle, so who could write it could run
            # code here. Nor need others see it: what is intact but has no record shows as Cached as well.
            result_storage=PREFECT_LOCAL_STORAGE_PATH.value(),
            result_serializer="json",
            retries=len(RETRY_AFTER),
            retry_delay_seconds=RETRY_AFTER,
            retry_jitter_factor=JITTER,
            retry_condition_fn=_is_transient,
            # No tags: for every task that has one the server is asked whether they are limited.
        )
        def work(key: str) -> Reference | State[Reference]:
            log = get_run_logger()
            for reason in wording.planned(planned):
                log.info("%s runs: %s", request.label, reason)
            run = {"flow_run": str(flow_run.get_name()), "task_run": str(task_run.get_id())}
            run |= {"because": self.because} if self.because else {}
            with watched_by(ui_artifacts.PrefectWatcher()):
                artifact, cached = make(
                    request, self.store, why=planned.why, before=planned.before, run=run, mapper=self.mapper
                )
            reference = {"step": artifact.step, "key": key, "digest": artifact.digest}
            # Intact, but Prefect has no record of it: another machine made it, or this is a new Prefect home.
            return Completed(name="Cached", data=reference) if cached else reference

        return work

    def steps(self) -> str:
        """Every step of the run so far as a row of a Markdown table: cached or not, which artifact, and why it is."""
        return "\n".join(["| step | state | artifact | size | made because |", "|---|---|---|---:|---|", *self.rows])


def retry_transient(do: Callable[[], Result]) -> Result:
    """Do something in a flow that may be done again, once more while a hub or a store cannot be reached.

    The steps are retried as tasks; this is for what lies between them. Raises UserError for a disk that is full,
    read-only or closed to this user.
    """
    with disk_explained():
        for seconds in RETRY_AFTER:
            try:
                return do()
            except Unreachable as error:
                if error.waited:
                    raise
                seconds *= random.uniform(1 - JITTER, 1 + JITTER)
                get_run_logger().warning("%s. Trying again in %.0f s.", error.what, seconds)
                time.sleep(seconds)
        return do()


def _is_transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure may go away by itself: no retry mends bad data, a full memory or a loss of NaN."""
    return isinstance(state.data, Unreachable)


def _row(artifact: Artifact, label: str, state: State[Any]) -> str:
    why = "; ".join(wording.reasons(artifact.record.why)).replace("|", "/")
    return f"| {label} | {state.name} | `{artifact.about}` | {artifact.size / 2**20:.2f} MiB | {why} |"


def _show(artifact: Artifact, label: str, state: State[Any]) -> None:
    """The step's own report, and its origin, on its task run's Artifacts tab."""
    record = artifact.record
    rows: list[tuple[str, str]] = [
        ("state", state.name or ""),
        ("key", f"`{artifact.key[:SHORT]}`"),
        ("files", f"{len(artifact.files)}, {artifact.size / 2**20:.2f} MiB"),
        ("took", wording.duration(record.seconds)),
        ("why", "; ".join(wording.reasons(record.why))),
        *((f"from {name}", origin.about) for name, origin in record.inputs.items() if origin),
        ("lineage", f"`reground lineage {artifact.about}`"),
    ]
    head = "\n".join(f"| {name} | {text.replace('|', '/')} |" for name, text in rows)
    body = ""
    if REPORT in artifact.files:
        body = (artifact.store.fetch(artifact, [REPORT]) / REPORT).read_text(encoding="utf-8")
    ui_artifacts.markdown(
        f"| | |\n|---|---|\n{head}\n\n{body}",
        key=label.replace(" ", "-"),
        description=f"{label}: {state.name}",
        task_run=state.state_details.task_run_id,
    )
