"""A flow that does whatever a test wants done in one."""

from collections.abc import Callable

from prefect import flow
from prefect.context import FlowRunContext

_JOB: list[Callable[[], None]] = []


def in_flow(job: Callable[[], None]) -> str:
    """Do the job in a flow run; returns the run's id."""
    _JOB.append(job)
    return _toy()


def _do_job() -> None:
    _JOB.pop()()


@flow(name="toy")
def _toy() -> str:
    """Of module level, and with the job behind a function, because Prefect sends the flow along to other processes."""
    _do_job()
    return str(FlowRunContext.get().flow_run.id)
