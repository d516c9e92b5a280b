"""A whole run in a process forked from one that has loaded everything: 15 s of imports are paid once, not 200 times.

The run is the real one: every step, the store, the training in a child of its own. Only two things differ from the
terminal's: Python is loaded already, and so is the training child's, which is forked before the run has any thread.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store

DEATH_SIGNAL, SUBREAPER = 1, 36  # of prctl(2)
CHANGES = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.symlink"}


def load() -> None:
    """Import all that a run uses; orphans of the runs become children of this process."""
    import bitsandbytes  # noqa: F401
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: F401

    import flows.cli.app
    import flows.retrain  # noqa: F401
    import tasks.training.loop  # noqa: F401

    ctypes.CDLL(None).prctl(SUBREAPER, 1)


@dataclass(frozen=True)
class Change:
    """A change to a file system: the `number`th of its kind."""

    by: str  # "run": by the run's own process. "publication": of those, while it publishes. "training": by its child
    number: int


def fork(run: Callable[[], None], folder: Path, *, dies_before: Change | None = None) -> int:
    """Start a run in a process group of its own; returns its process id, which is the group's.

    Its exit code is 0 or 2, as the terminal's would be. `folder` gets what it says, and how many changes to file
    systems it made. Before the change `dies_before` the whole group is killed.
    """
    process = os.fork()
    if process:
        return process
    code = 3
    try:
        os.setsid()
        _write_to(folder / "log")
        trained = _Nursery(folder, dies_before)
        from tasks.training import launch

        launch.subprocess = SimpleNamespace(Popen=trained, TimeoutExpired=subprocess.TimeoutExpired)  # type: ignore
        changes = _Changes(folder, dies_before, by="run")
        Store.publish = changes.within("publication", Store.publish)  # type: ignore[method-assign]
        code = _code(run, changes)
    finally:
        os._exit(code)


def steps(config: Path, place: Path) -> None:
    """The pipeline's steps, one after the other; `place`/begun gets a line for each that begins."""
    from flows.config import load
    from flows.pipeline import pipeline
    from tasks.engine.key import Request
    from tasks.engine.make import make

    store = load(config, [f"store={place / 'store'}"]).open_store()
    store.sweep()

    def run(step: Any, config: Any, *, label: str = "", **inputs: Any) -> Any:
        request = Request(step, config, inputs, label or step.name)
        noted = _noting(step.function, f"{step.name}/{request.key[:16]}", place / "begun")
        return make(replace(request, step=replace(step, function=noted)), store)[0]

    run.store = store  # type: ignore[attr-defined]
    pipeline(load(config), run)


def flow(config: Path, place: Path) -> None:
    """`reground retrain`: the same steps as tasks of a Prefect flow."""
    from flows.cli.app import app

    app(["retrain", str(config), "--set", f"store={place / 'store'}"], standalone_mode=False)


def _noting(function: Callable[..., Any], name: str, begun: Path) -> Callable[..., Any]:
    @wraps(function)
    def noted(*args: Any, **options: Any) -> Any:
        with begun.open("a") as file:
            file.write(f"{name}\n")
        return function(*args, **options)

    return noted


def _code(run: Callable[[], None], changes: "_Changes") -> int:
    """The exit code that the terminal would give."""
    changes.watch()
    try:
        run()
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 3
    changes.tell()
    return 0


class _Changes:
    """Counts this process's changes to file systems, and kills the group before one of them."""

    def __init__(self, folder: Path, dies_before: Change | None, *, by: str) -> None:
        self.folder = folder
        self.dies_before = dies_before
        self.kinds = [by]
        self.counts: Counter[str] = Counter()

    def watch(self) -> None:
        sys.addaudithook(self._see)  # there is no taking it away

    def within(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose changes are counted as of this kind, too."""

        @wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            self.kinds.append(kind)
            try:
                return function(*args, **options)
            finally:
                self.kinds.remove(kind)

        return counted

    def tell(self) -> None:
        for kind, count in list(self.counts.items()):
            (self.folder / f"changes-{kind}").write_text(str(count))

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            for kind in self.kinds:
                self.counts[kind] += 1
                if Change(kind, self.counts[kind]) == self.dies_before:
                    os.killpg(0, signal.SIGKILL)


def _write_to(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


class _Nursery:
    """In place of `subprocess.Popen` for the training: a child that waits to be told what to train.

    It is a child of the run as the real one is, dies with it, and runs the module's own `main`.
    """

    def __init__(self, folder: Path, dies_before: Change | None) -> None:
        parent = os.getpid()
        reading, self._told = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(reading)
            return
        code = 3
        try:
            ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
            os.close(self._told)
            with os.fdopen(reading) as told:
                line = told.readline()
            if not line or os.getppid() != parent:
                os._exit(0)
            job = json.loads(line)
            _write_to(Path(job["log"]))
            from tasks.training.loop import main

            train = partial(main, Path(job["arguments"][0]), int(job["arguments"][1]))
            code = _code(train, _Changes(folder, dies_before, by="training"))
        finally:
            os._exit(code)

    def __call__(self, command: list[str], *, stdout: Any, **_: Any) -> "_Nursery":
        line = json.dumps({"arguments": command[3:], "log": stdout.name}) + "\n"
        self._code: int | None = None
        with suppress(BrokenPipeError):  # it was killed while it waited, as `poll` will tell
            os.write(self._told, line.encode())
        return self

    def poll(self) -> int | None:
        if self._code is None:
            process, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if process else None
        return self._code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code
