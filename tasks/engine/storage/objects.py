"""Named contents in a folder or a bucket, by one interface: manifests, blobs, leases, run logs and aliases.

Names are POSIX paths below the place. A reader never sees half a content.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Protocol

from tasks.engine.code import not_in_key
from tasks.engine.errors import UserError
from tasks.engine.inputs import leads_out
from tasks.engine.storage.process import Process

STAGING = ".staging"
BLOBS = ".blobs"


@dataclass(frozen=True)
class Info:
    """Facts of a listing. `modified` is in seconds since 1970; for a file, when its content or its links changed.

    `tag` is the MD5 of the content where the place gives it, else empty or another text.
    """

    size: int
    modified: float
    tag: str = ""


def within(name: str) -> str:
    """The name, if it stays in its place: names come from configs, and from files that others may have written."""
    if leads_out(name):
        raise UserError(f"{name!r} is not a name in a store", "use a relative name without `..`, `.` and `\\`")
    return name


class Objects(Protocol):
    patience: float  # seconds between two looks at the same object: a request may cost money
    url: str

    def __hash__(self) -> int:
        """By identity."""

    def read(self, name: str) -> bytes | None:
        """The object's content; None if there is none."""

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        """The content of each, many at once."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace the object, atomically."""

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:
        """Create the object if there is none of this name; False if there is. Of many that try at once, one succeeds.

        If `durable`, a power cut cannot undo it either.
        """

    def delete(self, name: str) -> None:
        """Remove the object if it is there."""

    def glob(self, pattern: str) -> dict[str, Info]:
        """The objects whose names match, as in a shell: `*` matches part of one name, and no leading dot."""

    def infos(self, names: Iterable[str]) -> dict[str, Info]:
        """Those of these objects that are there."""

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """The object's content in pieces of `size` bytes. Raises FileNotFoundError if there is none."""

    def identity(self, name: str) -> object:
        """The same for two names of one content, such as hard links. May raise FileNotFoundError if there is none."""

    def file_name(self, folder: str, name: str, digest: str) -> str:
        """Where the file `name` of the artifact in `folder` ("step/key") is."""

    def set_aside(self, folder: str) -> None:
        """Move a damaged artifact to `.flawed/`, out of use; `reground gc` removes it when it is old."""


def require_exclusive_create(objects: Objects) -> None:
    """UserError if the second of two who create an object is not refused: then two would hold one lease."""
    name = f".leases/.probe-{secrets.token_hex(8)}"
    try:
        if not objects.create(name, b"first") or objects.create(name, b"second"):
            raise UserError(
                f"{objects.url} creates an object that exists already, so runs cannot agree who computes what",
                "use a local disk, NFS 4, AWS S3, Google Cloud Storage, or a MinIO of 2024 or later",
            )
    finally:
        objects.delete(name)


class Folder:
    """A folder's files as objects."""

    patience = 0.05

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def read(self, name: str) -> bytes | None:
        try:
            return self._at(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        return [self.read(name) for name in names]

    def write(self, name: str, content: bytes) -> None:
        with self._written(content, durable=True) as made:
            _into_folder(os.replace, made, self._at(name))
        flush(self._at(name).parent)

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:
        target = self._at(name)
        with self._written(content, durable) as made:
            try:
                _into_folder(os.link, made, target)
            except FileExistsError:
                return False
            except OSError:  # no hard links here: exclusive as well, but for a moment the content is missing
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
        if not name.startswith(BLOBS):  # where a publisher may be about to put a file
            with suppress(OSError):  # other files are in it
                self._at(name).parent.rmdir()

    def glob(self, pattern: str) -> dict[str, Info]:
        return self.infos(_matching(self.root, "", pattern.split("/")))

    def infos(self, names: Iterable[str]) -> dict[str, Info]:
        found = {}
        for name in names:
            with suppress(OSError):
                stat = os.stat(self.root / name)
                if S_ISREG(stat.st_mode):
                    found[name] = Info(stat.st_size, stat.st_ctime)
        return found

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        with self._at(name).open("rb") as file:
            while chunk := file.read(size):
                yield chunk

    def identity(self, name: str) -> tuple[int, int]:
        stat = os.stat(self._at(name))
        return stat.st_dev, stat.st_ino

    def file_name(self, folder: str, name: str, digest: str) -> str:
        return f"{folder}/{name}"

    def set_aside(self, folder: str) -> None:
        target = self._at(f".flawed/{folder}-{time.time_ns()}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(self._at(folder), target)

    def _at(self, name: str) -> Path:
        return self.root / within(name)

    @contextmanager
    def _written(self, content: bytes, durable: bool = False) -> Iterator[Path]:
        """A temporary file with this content, on the folder's own disk; gone afterwards unless renamed."""
        with temporary(self.root) as path:
            with path.open("xb") as file:
                file.write(content)
                _flush(file, durable)
            yield path


def _matching(root: Path, below: str, parts: list[str]) -> Iterator[str]:
    """Names that match, in order; unlike `Path.glob` it accepts that a folder vanishes meanwhile."""
    if not parts:
        yield below.rstrip("/")
    elif "*" not in parts[0]:
        yield from _matching(root, f"{below}{parts[0]}/", parts[1:])
    else:
        try:
            names = sorted(os.listdir(root / below))
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if fnmatch(name, parts[0]) and not name.startswith("."):
                yield from _matching(root, f"{below}{name}/", parts[1:])


def _into_folder(place, made: Path, target: Path) -> None:  # type: ignore[no-untyped-def]
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
    """Force a file or folder to disk, so that a power cut cannot undo it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def temporary(root: Path) -> Iterator[Path]:
    """A path for a temporary file or folder on the store's own disk; removed afterwards unless renamed.

    Its name tells whose it is: `Store.sweep` removes those of dead processes. Not mkstemp, because others may read it.
    """
    folder = root / STAGING
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:  # of the kernel's own, as /proc
        raise UserError(f"{root}: no folder can be made there", "name another place") from None
    path = folder / f"{Process.this().tag}-{secrets.token_hex(8)}"
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@not_in_key("who may read a file is no part of it")
def apply_umask(folder: Path) -> None:
    """Give the new files in a folder the permissions that umask grants; safetensors gives them to the owner alone."""
    granted = folder.stat().st_mode & 0o666  # the folder was made under the same umask
    for path in folder.rglob("*"):
        stat = path.lstat()
        if S_ISREG(stat.st_mode) and stat.st_nlink == 1 and stat.st_mode & granted != granted:
            path.chmod(stat.st_mode | granted)
