"""Where artifacts are kept: one folder per key, published whole or not at all.

    artifacts/
      train/3f2a9c01b7e4d582/     an artifact: its files, record.json and, written last, manifest.json
      .work/train/3f2a…/          what a step keeps across a crash, its checkpoints, say
      .staging/                   half-made artifacts; swept
      .locks/                     one computes a key, the others wait

A folder that has a manifest is complete, for it is renamed into place with it. It is believed only while every file
has the size and SHA-256 that the manifest names.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from tasks.errors import UserError
from tasks.versioning.inputs import files_below, sha256_file, sha256_json

MANIFEST = "manifest.json"
RECORD = "record.json"
SHORT = 16  # hexadecimal digits of the key in a folder's name: 64 bits


@dataclass(frozen=True)
class Artifact:
    """A published output, or with `part` a sub-folder of one; an `Input` of later steps.

    `files` maps relative names to {"size": bytes, "sha256": hex}. Only files under `part` count towards the digest,
    so that a step which reads one part is untouched by changes to the others.
    """

    step: str
    key: str
    folder: Path
    files: dict[str, dict[str, Any]]
    part: str = ""

    @property
    def digest(self) -> str:
        return sha256_json({name: each["sha256"] for name, each in self.files.items()})

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(each["size"] for each in self.files.values())

    @property
    def about(self) -> str:
        return f"{self.step}/{self.key[:SHORT]}" + (f"/{self.part}" if self.part else "")

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = orjson.loads((self.folder / RECORD).read_bytes())
        return record

    def local(self) -> Path:
        return self.folder / self.part

    def __getitem__(self, part: str) -> "Artifact":
        """The sub-folder `part` as an input of its own."""
        inside = {name: each for name, each in self.files.items() if name.startswith(f"{part}/")}
        if not inside:
            raise KeyError(f"{self.about} has no folder {part!r}; it has {', '.join(self.files)}")
        return Artifact(self.step, self.key, self.folder, inside, part)


class Store:
    """A folder of artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def folder(self, step: str, key: str) -> Path:
        return self.root / step / key[:SHORT]

    def work(self, step: str, key: str) -> Path:
        """A folder for this key alone that outlives a crash; emptied when the artifact is published."""
        return self.root / ".work" / step / key[:SHORT]

    def open(self, step: str, key: str) -> Artifact | None:
        """The artifact as its manifest tells it, its files unread; None if there is none."""
        folder = self.folder(step, key)
        try:
            manifest = orjson.loads((folder / MANIFEST).read_bytes())
            if manifest["key"] != key or manifest["digest"] != sha256_json(manifest["files"]):
                return None
            own = {name: each for name, each in manifest["files"].items() if name != RECORD}
            return Artifact(step, key, folder, own)
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def flaw(self, step: str, key: str) -> str | None:
        """Why the artifact cannot be believed, or None if every byte is as it was published."""
        folder = self.folder(step, key)
        if not folder.exists():
            return "never made"
        artifact = self.open(step, key)
        if artifact is None:
            return f"{MANIFEST} is missing or damaged"
        wanted = orjson.loads((folder / MANIFEST).read_bytes())["files"]
        for name, each in wanted.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is gone"
            if path.stat().st_size != each["size"]:
                return f"{name} has {path.stat().st_size} bytes instead of {each['size']}"
            if sha256_file(path) != each["sha256"]:
                return f"{name} has other content than was published"
        return None

    def find(self, step: str, key: str) -> Artifact | None:
        """The artifact, every byte of it verified; None if it is absent or flawed."""
        return None if self.flaw(step, key) else self.open(step, key)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the store's own file system; gone afterwards unless published."""
        base = self.root / ".staging"
        base.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=base, prefix=f"{os.getpid()}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left half-made."""
        for folder in (self.root / ".staging").glob("*-*"):
            process = int(folder.name.partition("-")[0])
            if not Path(f"/proc/{process}").exists():
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, step: str, key: str, staged: Path, record: dict[str, Any]) -> Artifact:
        """Make `staged` the artifact of `key`: record, manifest, one rename."""
        (staged / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        files = {}
        for name, path in files_below(staged).items():
            _flush(path)
            files[name] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
        manifest = {"step": step, "key": key, "files": files, "digest": sha256_json(files)}
        (staged / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        _flush(staged / MANIFEST)
        final = self.folder(step, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        with self.staging() as aside:
            if final.exists():  # a flawed one: it makes way in one rename, too
                os.rename(final, aside / "flawed")
            os.rename(staged, final)
        _flush(final.parent)
        shutil.rmtree(self.work(step, key), ignore_errors=True)
        published = self.open(step, key)
        assert published is not None
        return published

    @contextmanager
    def lock(self, step: str, key: str) -> Iterator[bool]:
        """Hold the key; yields whether another held it first. Dies with its process, however that ends."""
        path = self.root / ".locks" / f"{step}-{key[:SHORT]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            waited = False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
            yield waited

    def all(self, step: str | None = None) -> list[Artifact]:
        """Every artifact with a readable manifest, oldest first."""
        found = []
        for manifest in self.root.glob(f"{step or '[!.]*'}/*/{MANIFEST}"):
            with suppress(OSError, orjson.JSONDecodeError, KeyError):
                key = orjson.loads(manifest.read_bytes())["key"]
                if artifact := self.open(manifest.parent.parent.name, key):
                    found.append((manifest.stat().st_mtime_ns, artifact))
        return [artifact for _, artifact in sorted(found, key=lambda each: each[0])]

    def recent(
        self, step: str, most: int = 4, fits: Callable[[Artifact], bool] = lambda artifact: True
    ) -> list[Artifact]:
        """The newest artifacts of a step whose every byte is verified, and that fit, newest first."""
        newest = reversed(self.all(step))
        return list(islice((a for a in newest if self.flaw(a.step, a.key) is None and fits(a)), most))

    def match(self, pattern: str) -> Artifact:
        """The one artifact that a person means by `3f2a`, `train/3f2a` or `train`, the newest where several fit."""
        step, _, start = pattern.rpartition("/")
        found = [
            a for a in self.all() if (fnmatch(a.step, step or "*") and a.key.startswith(start)) or a.step == pattern
        ]
        if not found:
            raise UserError(f"no artifact matches {pattern!r} in {self.root}", "list them with `reground versions`")
        return found[-1]


def _flush(path: Path) -> None:
    """Force a file or folder to disk, so that a power cut cannot leave a manifest without its files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
