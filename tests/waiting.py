"""Waiting for a state, generously: a busy machine is slow, and a state that never comes is the failure."""

import time
from collections.abc import Callable
from subprocess import Popen
from typing import TypeVar

PATIENCE = 600.0  # seconds
State = TypeVar("State")


def wait_until(
    happened: Callable[[], State],
    process: "Popen | None" = None,
    *,
    seconds: float = PATIENCE,
    every: float = 0.02,
    failed: Callable[[], str] = lambda: "",
) -> State:
    """What `happened()` returns, once that is true; fails after `seconds`, or if `process` ends before.

    `failed()` adds what is known then.
    """
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert process is None or process.poll() is None, f"the process ended before it happened {failed()}"
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s {failed()}"
        time.sleep(every)
    return found
