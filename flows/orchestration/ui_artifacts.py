"""What a run shows on Prefect's pages beside its states. None of it can fail a run or hold it up.

A server that is down or restarts is warned of once in the log, and what it did not take is left out.
"""

import logging
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
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

TIMEOUT = 10.0  # seconds; Prefect's own 60 would hold up whoever watches a training
SENDERS = 4  # requests at once; each waits for the server some 30 ms

_senders: ContextVar[ThreadPoolExecutor | None] = ContextVar("senders", default=None)
_warned = False  # so that a server that does not answer is warned of once, not with each artifact


def markdown(text: str, *, key: str, description: str, task_run: UUID | None = None) -> None:
    """A Markdown artifact of the run that we are in, or of a task run of it."""
    send(MarkdownArtifact(markdown=text, key=key, description=description, task_run_id=task_run).create)


def send(call: Callable[[], Any]) -> None:
    """Make a call of Prefect's API that a run can do without; inside `in_background`, while the run goes on."""

    def attempt() -> None:
        with optional():
            call()

    if pool := _senders.get():
        pool.submit(copy_context().run, attempt)
    else:
        attempt()


@contextmanager
def in_background() -> Iterator[None]:
    """Send what is shown in here while the run goes on: it took half of the time of a run that finds all cached."""
    with ThreadPoolExecutor(SENDERS) as pool:
        token = _senders.set(pool)
        try:
            yield
        finally:
            _senders.reset(token)


@contextmanager
def optional(*, retries: int = 2) -> Iterator[None]:
    """For a call of Prefect's API that a run can do without: an error becomes one warning in the log."""
    global _warned
    brief = {PREFECT_CLIENT_MAX_RETRIES: retries, PREFECT_API_REQUEST_TIMEOUT: TIMEOUT}
    try:
        with temporary_settings(brief):
            yield
        _warned = False
    except Exception as error:  # of Prefect, of its HTTP client, of an ephemeral server that does not start
        if not _warned:
            _warned = True
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            get_run_logger().warning("The Prefect server did not answer (%s); the run goes on without.", reason)


class PrefectWatcher:
    """A `tasks.engine.progress.Watcher`: lines go to the log of the run, and a training has two artifacts.

    These are a percentage, and Markdown with the status and the loss curve; both are kept up to date.
    """

    def __init__(self) -> None:
        self._artifacts: list[UUID] = []

    def log(self, text: str) -> bool:
        logger = get_run_logger()
        logger.info("%s", text)
        handlers = _handlers(logger.logger if isinstance(logger, logging.LoggerAdapter) else logger)
        return any(isinstance(each, PrefectConsoleHandler) and each.level <= logging.INFO for each in handlers)

    def training(self, percent: float, status: str, lines: list[dict[str, Any]]) -> bool:
        from tasks.reporting.plots import loss_image

        taken = False
        with optional(retries=0):
            text = f"{status}\n\n{loss_image(lines)}"
            if self._artifacts:
                with get_client(sync_client=True) as client:
                    for artifact, data in zip(self._artifacts, (percent, text), strict=True):
                        client.update_artifact(artifact, ArtifactUpdate(data=data))
            else:
                steps = ProgressArtifact(progress=percent, key="train-progress", description="Training steps")
                loss = MarkdownArtifact(markdown=text, key="train-loss", description="Status, and loss by step")
                created: list[Any] = [steps.create(), loss.create()]
                self._artifacts = [each.id for each in created]
            taken = True
        return taken


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Those of a logger and of the loggers that it passes records on to."""
    while logger:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
