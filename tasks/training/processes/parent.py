"""A process that ends with the one that started it."""

import ctypes
import os
import signal
import sys


def die_with(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent ends, however it ends; no orphan may hold the GPU."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            raise SystemExit(1)
