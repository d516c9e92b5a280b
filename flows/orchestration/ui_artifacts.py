"""What a run shows on Prefect's pages, beside its states: only for looking at, so that it never ends or holds up a run.

A server that is down or restarts is told of once in the log, and what could not be shown is left out.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any
from uuid import UUID

from prefect.artifacts import MarkdownArtifact, ProgressArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

TIMEOUT = 10.0  # seconds; Prefect's own 60 would hold up whoever watches a training

SENDERS = 4  # requests at once; each waits for the server some 30 ms

_senders: ContextVar[ThreadPoolExecutor | None] = ContextVar("senders", default=None)
_away = False  # so that it is told once, not with each artifact


def markdown(text: str, *, key: str, description: str, task_run: UUID | None = None) -> None:
    """A Markdown artifact of the run that we are in, or of a task run of it."""
    send(MarkdownArtifact(markdown=text, key=key, description=description, task_run_id=task_run).create)


def send(call: Callable[[], Any]) -> None:
    """Make a call of Prefect's API that a run can do without; within `meanwhile`, while the run goes on."""
    if pool := _senders.get():
        pool.submit(copy_context().run, _send, call)
    else:
        _send(call)


@contextmanager
def meanwhile() -> Iterator[None]:
    """Have what is shown in here sent while the run goes on: of a run that finds all cached it was half the time."""
    with ThreadPoolExecutor(SENDERS) as pool:
        token = _senders.set(pool)
        try:
            yield
        finally:
            _senders.reset(token)


def _send(call: Callable[[], Any]) -> None:
    with only_shown():
        call()


class TrainingPage:
    """Two artifacts that are kept up to date: a percentage, and Markdown with the standing and the loss curve."""

    def __init__(self) -> None:
        self._made: tuple[UUID, UUID] | None = None

    def show(self, percent: float, standing: str, lines: list[dict[str, Any]]) -> bool:
        """Whether the server took it. `lines` are the training's metrics so far."""
        from tasks.reporting.loss_image import loss_image

        taken = False
        with only_shown(retries=0):
            text = f"{standing}\n\n{loss_image(lines)}"
            if self._made:
                with get_client(sync_client=True) as client:
                    for artifact, data in zip(self._made, (percent, text), strict=True):
                        client.update_artifact(artifact, ArtifactUpdate(data=data))
            else:
                steps = ProgressArtifact(progress=percent, key="train-progress", description="Training steps")
                loss = MarkdownArtifact(markdown=text, key="train-loss", description="Standing, and loss by step")
                made: list[Any] = [steps.create(), loss.create()]
                self._made = made[0].id, made[1].id
            taken = True
        return taken


@contextmanager
def only_shown(*, retries: int = 2) -> Iterator[None]:
    """For a call of Prefect's API that a run can do without: what goes wrong in it is told in the log, once."""
    global _away
    brief = {PREFECT_CLIENT_MAX_RETRIES: retries, PREFECT_API_REQUEST_TIMEOUT: TIMEOUT}
    try:
        with temporary_settings(brief):
            yield
        _away = False
    except Exception as error:  # of Prefect, of its HTTP client, of an ephemeral server that does not start
        if not _away:
            _away = True
            told = " ".join(str(error).split())[:200] or type(error).__name__
            get_run_logger().warning("The Prefect server takes nothing to show (%s); the run goes on without.", told)
