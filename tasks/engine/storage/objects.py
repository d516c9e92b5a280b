"""Small named contents in a place, a folder or a bucket: manifests, leases, run logs and aliases.

Names are POSIX paths below the place. Nobody ever reads half a content.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol

from tasks.engine.errors import UserError
from tasks.engine.storage.process import Process

STAGING = ".staging"


@dataclass(frozen=True)
class Info:
    """What a listing tells of an object; `tag` is the MD5 of its content where the place tells it, else empty."""

    size: int
    modified: float  # seconds since 1970
    tag: str = ""


def leads_out(name: str) -> bool:
    """Whether a name is no plain relative one, and could lead out of the place that it is looked up in."""
    return "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/"))


def within(name: str) -> str:
    """The name, if it stays in its place: names come from configs, and from files that others may have written."""
    if leads_out(name):
        raise UserError(f"{name!r} is no name within a store", "use a relative name without `..`, `.` and `\\`")
    return name


class Objects(Protocol):
    patience: float  # seconds between two looks at the same object: a request may cost money

    def read(self, name: str) -> bytes | None:
        """The object's content; None if there is none."""

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        """The content of each, many at once."""

    def write(self, name: str, content: bytes) -> None:
        """Make or replace the object, at once."""

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:
        """Make the object if there is none of this name; False if there is. Of many that try at once, one does.

        If `durable`, a power cut cannot take it back either.
        """

    def delete(self, name: str) -> None:
        """Remove the object if it is there."""

    def glob(self, pattern: str) -> dict[str, Info]:
        """The objects whose names fit, as in a shell: `*` stands for part of one name, and for no leading dot."""


class Folder:
    """A folder's files as objects."""

    patience = 0.05

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return self._at(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        return [self.read(name) for name in names]

    def write(self, name: str, content: bytes) -> None:
        with self._written(content, durable=True) as made:
            _in_folder(os.replace, made, self._at(name))
        flush(self._at(name).parent)

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:
        target = self._at(name)
        with self._written(content, durable) as made:
            try:
                _in_folder(os.link, made, target)
            except FileExistsError:
                return False
            except OSError:  # no hard links here: exclusive all the same, but for a moment the content is missing
                try:
                    with target.open("xb") as file:
                        file.write(content)
                        _flush(file, durable)
                except FileExistsError:
                    return False
        if durable:
            flush(target.parent)
        return True

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._at(name).unlink()
        with suppress(OSError):  # others are in it still
            self._at(name).parent.rmdir()

    def glob(self, pattern: str) -> dict[str, Info]:
        found = {}
        for name in _fitting(self.root, "", pattern.split("/")):
            with suppress(OSError):
                stat = os.stat(self.root / name)
                if S_ISREG(stat.st_mode):
                    found[name] = Info(stat.st_size, stat.st_mtime)
        return found

    def _at(self, name: str) -> Path:
        return self.root / within(name)

    @contextmanager
    def _written(self, content: bytes, durable: bool = False) -> Iterator[Path]:
        """A temporary file with this content, on the folder's own disk; gone afterwards unless renamed."""
        staging = self.root / STAGING
        staging.mkdir(parents=True, exist_ok=True)
        path = staging / f"{Process.this().tag}-{secrets.token_hex(4)}"  # not mkstemp: others may read it
        try:
            with path.open("xb") as file:
                file.write(content)
                _flush(file, durable)
            yield path
        finally:
            path.unlink(missing_ok=True)


def _fitting(root: Path, below: str, parts: list[str]) -> Iterator[str]:
    """Names that fit, in order; unlike `Path.glob` it does not mind a folder that vanishes meanwhile."""
    if not parts:
        yield below.rstrip("/")
    elif "*" not in parts[0]:
        yield from _fitting(root, f"{below}{parts[0]}/", parts[1:])
    else:
        try:
            names = sorted(os.listdir(root / below))
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if fnmatch(name, parts[0]) and not name.startswith("."):
                yield from _fitting(root, f"{below}{name}/", parts[1:])


def _in_folder(place, made: Path, target: Path) -> None:  # type: ignore[no-untyped-def]
    """`os.link` or `os.replace` into a folder that may have to be made, and that another may just have removed."""
    for _ in range(10):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            place(made, target)
            return
        except FileNotFoundError:
            if not made.exists():
                raise
    place(made, target)


def _flush(file: BinaryIO, durable: bool) -> None:
    if durable:
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Force a file or folder to disk, so that a power cut cannot take it back."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
