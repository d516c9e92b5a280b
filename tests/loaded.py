"""A training child that is forked from a process which has loaded the libraries: 6 s of imports once, not for each.

It runs the module's own `main`, in a process of its own, with its own log, environment and exit code. What it shares
with the others is the memory of what was imported; the tests that kill processes by their command line start real ones.

`python -m tests.loaded` imports all that tests import, so that Python has compiled it.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

SERVED = ("flows.retrain", "prefect.server.api.server", "moto.server", "hypothesis", "xdist.plugin", "sacrebleu")
LIBRARIES = ("torch", "datasets", "peft", "bitsandbytes", "trl.trainer.sft_trainer", "tasks.training.loop")


@contextmanager
def loaded() -> Iterator[None]:
    """Have `tasks.training.launch` start its children so."""
    from tasks.training import launch

    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(LIBRARIES))
    with pytest.MonkeyPatch.context() as patch:
        expired = launch.subprocess.TimeoutExpired
        patch.setattr(launch, "subprocess", SimpleNamespace(Popen=_Forked, TimeoutExpired=expired))
        yield


class _Forked:
    """As much of `subprocess.Popen` as `launch` uses."""

    def __init__(self, words: Sequence[str], *, stdout: IO[bytes], stderr: IO[bytes], env: Mapping[str, str]) -> None:
        module, told = words[2:4]
        forks = multiprocessing.get_context("forkserver")
        self._process: Any = forks.Process(target=_run, args=(module, told, stdout.name, dict(env)))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode  # type: ignore[no-any-return]

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self.poll() is None:
            from tasks.training import launch

            raise launch.subprocess.TimeoutExpired("training", timeout or 0)
        return self.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _run(module: str, told: str, log: str, environment: dict[str, str]) -> None:
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    import_module(module).main(Path(told), os.getppid())


if __name__ == "__main__":
    for name in (*LIBRARIES, *SERVED):
        import_module(name)
