"""Waiting for a state, generously: a busy machine is slow, and a state that never comes is the failure."""

import time
from collections.abc import Callable
from subprocess import Popen


def wait_until(
    happened: Callable[[], object], process: "Popen | None" = None, *, seconds: float = 300, every: float = 0.02
) -> None:
    """Return once `happened()` is true; fail after `seconds`, or if `process` ends before."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, "the process ended before it happened"
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(every)
