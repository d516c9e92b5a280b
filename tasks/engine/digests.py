"""SHA-256 of files, cached for as long as the file system says that nothing touched them.

A file is known again by its device, inode, size, mtime and ctime in nanoseconds. Content that changed while size and
mtime were put back still has a new ctime, which no program can set. What a disk loses without a write is not seen
here; `reground fsck` reads every byte.

The clock behind ctime ticks every few milliseconds, so a file that is hashed right after a write can be written again
in the same tick and look the same. Such a digest is not remembered (git calls such an entry racy).
"""

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

NOT_IN_KEY = "a file's SHA-256 is the same however it is found, and a link has its file's content"

RACY_NS = 100_000_000  # a file system's clock ticks every 1 to 10 ms; a tenth of a second is safely more
MOST_BYTES = 64 << 20  # of the database, some 500,000 files; a larger one is removed

_Row = tuple[int, int, int, str]  # size, mtime_ns, ctime_ns, digest


def cache_folder() -> Path | None:
    """Where this user's caches are, by the XDG rules; None where there is no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reground"
    except RuntimeError:
        return None


def digests() -> "Digests":
    """This user's digests on this machine. They are no part of a store, which other machines may see as well."""
    folder = cache_folder()
    return _digests(folder / "digests.sqlite" if folder else None)


@cache
def _digests(path: Path | None) -> "Digests":
    return Digests(path)


class Digests:
    """Digests of files; those asked for are kept in memory, and written for other processes by `commit`.

    The database is a cache: if it is locked, damaged, gone or on a read-only disk, files are read again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._new: dict[tuple[int, int], _Row] = {}
        self._database: sqlite3.Connection | None = None
        self._process = 0  # that opened the database: a connection must not cross a fork

    def of(self, path: Path) -> str:
        """The file's SHA-256, as hexadecimal digits; reads it only if it is not known."""
        if known := self.known(os.stat(path)):
            return known
        with path.open("rb") as file:
            now, before = time.time_ns(), os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        if _state(before) == _state(after) and now - after.st_ctime_ns > RACY_NS:
            self._keep(after, digest)
        return digest

    def known(self, stat: os.stat_result) -> str | None:
        """The digest of the file with this stat, if nothing has touched it since it was read."""
        place = (stat.st_dev, stat.st_ino)
        with self._lock:
            row = self._new.get(place) or self._read(place)
        return row[3] if row and row[:3] == _state(stat) else None

    def forget(self, path: Path) -> None:
        """Read the file again next time."""
        with suppress(OSError):
            stat = os.stat(path)
            with self._lock:
                self._new[stat.st_dev, stat.st_ino] = (-1, 0, 0, "")

    def link(self, source: Path, target: Path) -> None:
        """Hard-link a file, or copy it where that is not possible; its digest stays known."""
        with self.carried([source]):
            try:
                os.link(source, target)
            except OSError:  # another disk, no hard links, or the most that a file may have
                if target.exists():
                    raise
                shutil.copyfile(source, target)

    @contextmanager
    def carried(self, paths: Iterable[Path]) -> Iterator[None]:
        """Keep the files' digests known while their links change in here, which renews their ctime.

        Whoever writes to them meanwhile changes their mtime; it is older than the clock's tick, so that shows.
        """
        stats = [(path, stat) for path in paths if (stat := _stat(path))]
        before = [(path, stat, digest) for path, stat in stats if (digest := self.known(stat))]
        yield
        now = time.time_ns()
        for path, old, digest in before:
            new = _stat(path)
            unchanged = new and (new.st_ino, *_state(new)[:2]) == (old.st_ino, *_state(old)[:2])
            if new and unchanged and now - new.st_mtime_ns > RACY_NS:
                self._keep(new, digest)

    def commit(self) -> None:
        """Write what is new for other processes to know."""
        with self._lock:
            if not self._new:
                return
            database = self._open()
            if database is None:
                return
            rows = [(*place, *row) for place, row in self._new.items()]
            with self._tolerant(), database:
                database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", _signed(rows))
                self._new.clear()

    def _keep(self, stat: os.stat_result, digest: str) -> None:
        with self._lock:
            self._new[stat.st_dev, stat.st_ino] = (*_state(stat), digest)

    def _read(self, place: tuple[int, int]) -> _Row | None:
        database = self._open()
        if database is None:
            return None
        row: _Row | None = None
        with self._tolerant():
            asked = "SELECT size, modified, changed, digest FROM digests WHERE device = ? AND inode = ?"
            row = database.execute(asked, *_signed([place])).fetchone()
        return row

    def _open(self) -> sqlite3.Connection | None:
        if self._process == os.getpid() or self._path is None:
            return self._database
        self._process, self._database = os.getpid(), None
        with self._tolerant():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
                self._remove()
            database = sqlite3.connect(self._path, timeout=0.5, check_same_thread=False)
            database.execute("PRAGMA journal_mode=WAL")  # readers wait for nobody
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS digests (device INTEGER, inode INTEGER, size INTEGER, modified INTEGER,"
                " changed INTEGER, digest TEXT, PRIMARY KEY (device, inode)) WITHOUT ROWID"
            )
            self._database = database
        return self._database

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Without a database there is only more to read; a damaged one is removed."""
        try:
            yield
        except sqlite3.OperationalError:  # locked, read-only, or a full disk
            pass
        except sqlite3.DatabaseError:
            self._database = None
            self._remove()
        except OSError:
            self._database = None

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self._path}{end}").unlink()


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _signed(rows: Iterable[tuple]) -> list[tuple]:  # type: ignore[type-arg]
    """SQLite's integers have 64 bits and a sign; device and inode numbers may need all 64."""
    return [tuple(n - 2**64 if isinstance(n, int) and n >= 2**63 else n for n in row) for row in rows]
