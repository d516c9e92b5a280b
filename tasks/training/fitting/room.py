"""Main memory, of a container with a limit its own."""

from pathlib import Path


def memory() -> tuple[int, int]:
    """Bytes of main memory: in all, and to be had now; of a container with a limit, its own."""
    import psutil

    told = psutil.virtual_memory()
    limit = _limit()
    if limit is None or limit >= told.total:
        return told.total, told.available
    used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    return limit, max(0, min(told.available, limit - used))


def _limit() -> int | None:
    """The container's own limit, by cgroup v2."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no cgroup v2, or `max`
        return None
