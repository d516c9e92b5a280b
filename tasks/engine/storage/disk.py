"""The disk that a store is on, when it is full."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.engine.errors import UserError


@contextmanager
def full_disk_explained(root: Path) -> Iterator[None]:
    """Turn ENOSPC, from whichever library, into words."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or root
        free = shutil.disk_usage(root).free / 2**20
        raise UserError(
            f"no space left on the disk of {where} ({free:.0f} MiB free); nothing that was published is harmed",
            "free some space or set `store` to a larger disk, then run again: finished steps and checkpoints are kept",
        ) from error
