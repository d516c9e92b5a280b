"""The one place where a step becomes a Prefect task.

Prefect's cache knows a key's record; only the store knows whether the artifact is whole. So the store is asked first,
and a record whose artifact is flawed is passed over (`refresh_cache`).
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from prefect import Task, get_run_logger, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Completed

from flows.orchestration import ui_artifacts as shown
from tasks.engine.errors import Unreachable
from tasks.engine.inputs import Input
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.mapper import Spread, here
from tasks.engine.plan import Planned, Planner, last_used, look
from tasks.engine.step import Config, Step
from tasks.engine.storage.runs import RunLog
from tasks.engine.storage.store import SHORT, Artifact, Store

Result = TypeVar("Result")
RETRY_AFTER = [10.0, 30.0, 60.0]  # seconds: a hub or a bucket that restarts is back within two minutes, or is not
REPORT = "report.md"  # of a step's own making
JITTER = 0.3  # of them, so that runs which lost the same bucket do not all come back at once

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

    `name` is the config's; `because` goes on the record of what is made; `log` is told of every artifact that the run
    uses. What `planner` has just found fresh is not looked for again; that its artifact is whole, `make` sees to.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str = "",
        tell: Tell = silent,
        spread: Spread = here,
        log: RunLog | None = None,
        planner: Planner | None = None,
        because: str = "",
    ) -> None:
        self.store = store
        self.spread = spread
        self.tell = tell
        self.log = log
        self.because = because
        self.done: list[str] = []
        self.used = last_used(store, name)
        steps = planner.steps if planner else []
        self.fresh = {(each.label, each.request.key): each for each in steps if each.status == "fresh"}
        store.sweep()

    def __call__(self, step: Step, config: Config, *, label: str = "", **inputs: Input | None) -> Artifact:
        request = Request(step, config, inputs, label or step.name)
        planned = self.fresh.get((request.label, request.key)) or look(request, self.store, self.used)
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
            retries=len(RETRY_AFTER),
            retry_delay_seconds=RETRY_AFTER,
            retry_jitter_factor=JITTER,
            retry_condition_fn=_is_away,
            # No tags: for every task that has one the server is asked whether they are limited.
        )
        def work(key: str) -> Reference | State[Reference]:
            log = get_run_logger()
            for reason in planned.why:
                log.info("%s runs: %s", request.label, reason)
            asked = {"flow_run": flow_run.get_name(), "task_run": str(task_run.get_id())}
            asked |= {"because": self.because} if self.because else {}
            artifact, there = make(
                request, self.store, why=planned.why, before=planned.before, run=asked, spread=self.spread
            )
            reference = {"step": step.name, "key": key, "digest": artifact.digest}
            # The artifact is whole but Prefect had no record of it: another machine, or a new Prefect home.
            return Completed(name="Cached", data=reference) if there else reference

        self.tell(planned, False)
        if self.log and not whole:
            self.log.catch_up()
        state: State[Any] = work(request.key, return_state=True)
        try:
            state.result()
        except Unreachable as error:
            error.waited = True
            raise
        published = self.store.open(step.name, request.key)
        assert published is not None
        artifact = replace(published, parts=step.parts)
        self.done.append(_row(artifact, request.label, state))
        if state.name != "Cached":  # 60 ms of the server's time each; cached ones have their row in `steps`
            _show(artifact, request.label, state)
        if self.log:
            self.log.step_done(request.label, artifact, at_once=not whole)
        self.tell(replace(planned, artifact=artifact, seconds=artifact.record["measured"]["seconds"]), True)
        return artifact

    def steps(self) -> str:
        """Every step of the run so far as a row of a Markdown table: cached or not, which artifact, and why it is."""
        return "\n".join(["| step | state | artifact | size | made because |", "|---|---|---|---:|---|", *self.done])


def patiently(do: Callable[[], Result]) -> Result:
    """Do something in a flow that may be done again, once more while a hub or a store is away.

    The steps are tried again as tasks; this is for what lies between them.
    """
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


def _is_away(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure is one that time may mend: no retry mends bad data, a full memory or a loss of NaN."""
    return isinstance(state.data, Unreachable)


def _row(artifact: Artifact, label: str, state: State[Any]) -> str:
    why = "; ".join(artifact.record["why"]).replace("|", "/")
    return f"| {label} | {state.name} | `{artifact.about}` | {artifact.size / 2**20:.2f} MiB | {why} |"


def _show(artifact: Artifact, label: str, state: State[Any]) -> None:
    """The step's own report, and how it came to be, on its task run's Artifacts tab."""
    record = artifact.record
    rows = [
        ("state", state.name),
        ("key", f"`{artifact.key[:SHORT]}`"),
        ("files", f"{len(artifact.files)}, {artifact.size / 2**20:.2f} MiB"),
        ("took", f"{record['measured']['seconds']:.1f} s"),
        ("why", "; ".join(record["why"])),
        *((f"from {name}", about) for name, about in record["made_from"].items() if about),
        ("lineage", f"`reground lineage {artifact.about}`"),
    ]
    head = "\n".join(f"| {name} | {text.replace('|', '/')} |" for name, text in rows)
    body = ""
    if REPORT in artifact.files:
        body = (artifact.store.fetch(artifact, [REPORT]) / REPORT).read_text(encoding="utf-8")
    shown.markdown(
        f"| | |\n|---|---|\n{head}\n\n{body}",
        key=label.replace(" ", "-"),
        description=f"{label}: {state.name}",
        task_run=state.state_details.task_run_id,
    )
