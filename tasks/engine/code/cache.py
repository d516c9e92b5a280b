"""A step's code, cached for as long as no source file is touched: finding it is half of a run with nothing to do.

All source files are compared together, by name, inode, size, mtime and ctime in nanoseconds (see `digests`). When
one of them changes, everything is read again.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson

from tasks.engine.code import reach as code
from tasks.engine.code.source import ROOT
from tasks.engine.code.syntax import FIRST_PARTY
from tasks.engine.digests import RACY_NS, cache_folder
from tasks.engine.inputs import sha256_json

NOT_IN_KEY = "what it finds is in the key itself"

Code = dict[str, str]  # "tasks.score:score" → SHA-256


def code_of(module: str, name: str, *, root: Path = ROOT, folder: Path | None = None) -> Code:
    """As `code.code_of`. `folder` is the cache; by default this user's."""
    folder = folder or cache_folder()
    now, state = time.time_ns(), _state(root)
    path = folder / "code" / f"{sha256_json(str(root))[:16]}.json" if folder else None
    known = _read(path, sha256_json(state))
    symbol = f"{module}:{name}"
    if symbol not in known:
        known[symbol] = code.code_of(module, name, root=root)
        racy = any(now - changed < RACY_NS for *_, changed in state)  # it could be written again in the same tick
        if path and not racy and _state(root) == state:
            _write(path, {"state": sha256_json(state), "known": known})
    return known[symbol]


def _state(root: Path) -> list[tuple[str, int, int, int, int]]:
    """(name, inode, size, mtime, ctime) of every source file; how Python reads them may change with its version."""
    files = sorted(each for part in FIRST_PARTY for each in _sources(f"{root}/{part}"))
    return [(".".join(map(str, sys.version_info)), 0, 0, 0, 0), *files]


def _sources(folder: str) -> Iterator[tuple[str, int, int, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                stat = entry.stat()
                yield entry.path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read(path: Path | None, state: str) -> dict[str, Code]:
    """What the cache has for these files; nothing if they changed, or the cache is gone or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        cached = orjson.loads(path.read_bytes()) if path else {}
        digest = cached.pop("digest")
        if digest == sha256_json(cached) and cached["state"] == state:
            known: dict[str, Code] = cached["known"]
            return known
    return {}


def _write(path: Path, content: dict[str, object]) -> None:
    """In one rename: other processes read it. A read-only home or a full disk only costs the time to find it again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(orjson.dumps(content | {"digest": sha256_json(content)}))
        new.replace(path)
