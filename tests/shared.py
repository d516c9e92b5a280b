"""What the workers of a test run make once and share: folders, and servers that end with the run.

`python -m tests.shared PID MODULE WORDS` runs a module until process PID ends.
"""

import json
import os
import runpy
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from filelock import FileLock

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
XDIST = "PYTEST_XDIST_WORKER" in os.environ


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """A folder of this test run, and what `make(folder)` returned as JSON to the first worker that asked."""
    base = factory.getbasetemp()
    folder = (base.parent if XDIST else base) / name
    done = folder.with_suffix(".json")
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
            folder.mkdir()
            done.write_text(json.dumps(make(folder)))
    return folder, json.loads(done.read_text())


def serve(folder: Path, *words: str, **environment: str) -> int:
    """The port of a server that takes it as its last word, once it answers; `folder`/log has what it says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = str(os.getppid() if XDIST else os.getpid())
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.shared", run, *words, str(port)]
        server = subprocess.Popen(command, env={**os.environ, **environment}, cwd=ROOT, stdout=log, stderr=log)
    wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), server, failed=(folder / "log").read_text)
    server.returncode = 0  # it outlives this worker: nobody waits for it
    return port


def _end_with(process: int) -> None:
    with suppress(ProcessLookupError):
        ended = select.poll()
        ended.register(os.pidfd_open(process), select.POLLIN)
        ended.poll()
    os._exit(0)


if __name__ == "__main__":
    _, run, module, *sys.argv[1:] = sys.argv
    Thread(target=_end_with, args=(int(run),), daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
