"""What each run used: `runs/20261019T203505123456Z-9f31c2ab.json`, brought up to date as the run's steps finish."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

import orjson

from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.objects import Objects
from tasks.engine.storage.process import Process

RUNS = "runs"
Status = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class Run:
    """One run as it was logged: `steps` is {label: {"step": …, "key": …}} of those that finished."""

    name: str  # of the config
    by: dict[str, Any]
    started: str  # ISO 8601, UTC
    status: Status  # a run that was killed says `running` for ever
    steps: dict[str, dict[str, str]]
    id: str = ""  # its object's name; sorts by time


class RunLog:
    """Logs one run.

    with store.log_run("tiny") as run:      # completed, or failed if an error leaves the block
        run.step_done("train", artifact)

    store.log_run("tiny", {label: artifact, …}).end("completed")    # a run that was over before it was logged
    """

    def __init__(self, objects: Objects, name: str, steps: dict[str, Artifact]) -> None:
        self._objects = objects
        self._name = name
        self._started = datetime.now(UTC)
        self._at = f"{RUNS}/{self._started:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}.json"
        self._steps = {label: {"step": each.step, "key": each.key} for label, each in steps.items()}
        self._written = False

    def step_done(self, label: str, artifact: Artifact, *, at_once: bool = True) -> None:
        """The run used this artifact, new or not; of fresh ones it is enough to tell before a step takes its time."""
        self._steps[label] = {"step": artifact.step, "key": artifact.key}
        if at_once:
            self._write("running")

    def catch_up(self) -> None:
        """Write what was not written at once."""
        self._write("running")

    def end(self, status: Status) -> None:
        self._write(status)

    def __enter__(self) -> Self:
        self._write("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end("failed" if kind else "completed")

    def _write(self, status: Status) -> None:
        told = {
            "name": self._name,
            "by": Process.this().plain(),
            "started": self._started.isoformat(timespec="milliseconds"),
            "status": status,
            "steps": self._steps,
        }
        # A run that is logged once, when all was fresh, need not wait for the disk.
        write = self._objects.write if self._written else self._objects.create
        write(self._at, orjson.dumps(told, option=orjson.OPT_INDENT_2))
        self._written = True

    @staticmethod
    def all(objects: Objects, most: int | None = None) -> list[Run]:
        """Newest first."""
        found = []
        names = list(reversed(objects.glob(f"{RUNS}/*.json")))[:most]
        for name, content in zip(names, objects.read_all(names), strict=True):
            try:
                found.append(Run(**orjson.loads(content or b""), id=name.removeprefix(f"{RUNS}/")))
            except (orjson.JSONDecodeError, TypeError):  # a power cut can leave a log of no bytes
                continue
        return found
