"""Processes that outlive the command that started them, and are known again by number and start."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tasks.engine.code.source import ROOT
from tasks.engine.storage.process import Process

GRACE = 30.0  # seconds to end by itself; a worker first ends its run, and that its training child: 8 s


def start(command: list[str], *, settings: dict[str, str], log: Path) -> str:
    """Start a process in a session of its own, in the project's folder; returns its tag."""
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Process.of(child.pid).tag


def end(tags: list[str]) -> None:
    """End them together: SIGTERM, and SIGKILL to the whole session of one that has not ended within the grace."""
    alive = [process for process in map(Process.from_tag, tags) if process.is_alive]
    for process in alive:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(process.is_alive for process in alive) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in alive:
        if process.is_alive:
            os.killpg(process.pid, signal.SIGKILL)  # the leader of its session and group


def _signal(process: Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:  # it ended between the look and the signal
        return
