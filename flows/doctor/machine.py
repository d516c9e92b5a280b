"""Cores, memory, shared memory and disks."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, gib, note, ok
from tasks.engine.digests import cache_folder
from tasks.training.memory import main_memory

SHARED = Path("/dev/shm")
LITTLE_SHARED = 1 << 30  # bytes; a container has 64 MiB by default, too little for several GPUs to talk over
LITTLE, TIGHT = 1 << 30, 10 << 30  # bytes free; an adapter of a 7B model with its checkpoints takes some 2 GiB


def check(config: Retrain) -> Iterator[Finding]:
    yield ok("CPU", f"{cores()} cores")
    total, free = main_memory()
    yield (
        ok("memory", f"{gib(free)} free of {gib(total)}")
        if free > LITTLE
        else note(
            "memory", f"{gib(free)} free of {gib(total)}", "end other processes, or expect the training to be killed"
        )
    )
    if SHARED.is_dir():
        size = shutil.disk_usage(SHARED).total
        yield (
            ok("/dev/shm", gib(size))
            if size >= LITTLE_SHARED
            else note("/dev/shm", gib(size), "with several GPUs give the container more: docker run --shm-size 8g")
        )
    for what, folder in _disks(config).items():
        yield _disk(what, folder)


def _disks(config: Retrain) -> dict[str, Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(config.cache) if config.cache else cache_folder()
    found = {} if "://" in config.store else {"disk of the store": Path(config.store)}
    found |= {"disk of the cache": cache} if cache else {}
    return found if Path(config.base.model).is_dir() else found | {"disk of the hub's cache": Path(HF_HUB_CACHE)}


def _disk(what: str, folder: Path) -> Finding:
    there = existing(folder)
    free = shutil.disk_usage(there).free
    told, remedy = f"{gib(free)} free at {folder}", "free some, `reground gc --delete`, or name another folder"
    return bad(what, told, remedy) if free < LITTLE else note(what, told, remedy) if free < TIGHT else ok(what, told)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    folder = folder.expanduser().absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def cores() -> int:
    """Those that this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
