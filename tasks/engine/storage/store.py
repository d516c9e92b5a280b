"""Where artifacts are kept: in a folder or a bucket, each published whole or not at all.

    artifacts/
      train/3f2a9c01b7e4d582/     an artifact: its files, record.json and, written last, manifest.json
      aliases/  runs/             names for artifacts, and what each run used
      promotions/                 which adapter came into service, when and why
      .blobs/                     every file by its content; an artifact's files are links to these
      .leases/                    who computes what just now
      .work/train/3f2a…/          what a step keeps across a crash, its checkpoints, say
      .staging/                   half-made artifacts; swept
      .failed/  .flawed/          what a failed step had written, and artifacts that turned out harmed

A manifest names every file with size and SHA-256. It is there only once all of them are, and an artifact is believed
only while each file is as the manifest says. A bucket holds manifests and blobs; a folder on this machine, laid out
as above, holds what was fetched from it. Steps only ever see folders.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from fnmatch import fnmatch
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from flows.promotion.promotions import Promotions
from tasks.engine import progress
from tasks.engine.digests import cache_folder, digests
from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below
from tasks.engine.storage import aliases, lease
from tasks.engine.storage.aliases import Alias
from tasks.engine.storage.artifact import MANIFEST, RECORD, SHORT, Artifact, manifest_name, write_manifest
from tasks.engine.storage.blobs import Blobs
from tasks.engine.storage.objects import STAGING, Folder, Objects, flush, remove
from tasks.engine.storage.process import Process
from tasks.engine.storage.runs import Run, RunLog

if TYPE_CHECKING:
    from tasks.engine.storage.bucket import Bucket
    from tasks.engine.storage.mirror import Mirror

THREADS = 8  # hashing and flushing wait for the disk

__all__ = ["MANIFEST", "RECORD", "SHORT", "Alias", "Artifact", "Run", "Store"]


class Store:
    """Artifacts in a folder, or below ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    `root` is a folder of this machine in any case: the store itself, or for a bucket what was fetched from it, in a
    folder of its own below `cache` (default: ~/.cache/reground). `lease_seconds` is how long a holder of a key that
    gives no sign of life from another machine is waited for.
    """

    def __init__(self, url: str | Path, *, cache: Path | None = None, lease_seconds: float = lease.SECONDS) -> None:
        self.url = str(url).removeprefix("file://").rstrip("/") or "/"
        self.lease_seconds = lease_seconds
        self.digests = digests()
        remote = "://" in self.url
        self.root = (_cache(cache, self.url) if remote else Path(self.url).expanduser()).resolve()
        self.url = self.url if remote else str(self.root)
        self.blobs = Blobs(self.root, self.digests)
        self.mirror = _mirror(self.url, self.blobs, lease_seconds) if remote else None
        self.objects: Objects = self.mirror.bucket if self.mirror else Folder(self.root)

    @property
    def bucket(self) -> "Bucket | None":
        return self.mirror.bucket if self.mirror else None

    def folder(self, step: str, key: str) -> Path:
        return self.root / step / key[:SHORT]

    def work(self, step: str, key: str) -> Path:
        """A folder for this key alone that outlives a crash; emptied when the artifact is published."""
        return self.root / ".work" / step / key[:SHORT]

    # What is there

    def open(self, step: str, key: str) -> Artifact | None:
        """The artifact as its manifest tells it, its files unread; None if there is none."""
        content = self.objects.read(manifest_name(step, key))
        artifact = Artifact.from_manifest(content, self) if content else None
        return artifact if artifact and (artifact.step, artifact.key) == (step, key) else None

    def flaw(self, step: str, key: str) -> str | None:
        """Why the artifact cannot be believed, or None if every byte is as it was published.

        Of a bucket, files that were fetched are judged by their bytes, the others by being there with the right size:
        their bytes are judged when they are fetched.
        """
        artifact = self.open(step, key)
        if artifact is None:
            there = self.objects.glob(manifest_name(step, key)) or (not self.mirror and self.folder(step, key).exists())
            return f"{MANIFEST} is missing or damaged" if there else "never made"
        return self._flaw(artifact)

    def find(self, step: str, key: str) -> Artifact | None:
        """The artifact, verified as `flaw` does; None if it is absent or flawed."""
        artifact = self.open(step, key)
        return artifact if artifact and self._flaw(artifact) is None else None

    def all(self, step: str | None = None) -> list[Artifact]:
        """Every artifact whose manifest and record are whole, oldest first."""
        listed = self.objects.glob(f"{step or '*'}/*/{MANIFEST}")
        contents = self.mirror.manifests(listed) if self.mirror else self.objects.read_all(listed)
        found = [self._listed(name, content) for name, content in zip(listed, contents, strict=True) if content]
        artifacts = sorted((a for a in found if a), key=lambda a: (a.made_ns, a.about))
        if self.mirror:
            self.mirror.fetch_records(artifacts)
        return artifacts

    def recent(
        self, step: str, most: int = 4, fits: Callable[[Artifact], bool] = lambda artifact: True
    ) -> list[Artifact]:
        """The newest artifacts of a step that are verified and fit, newest first."""
        newest = reversed(self.all(step))
        return list(islice((a for a in newest if self._flaw(a) is None and fits(a)), most))

    def match(self, pattern: str) -> Artifact:
        """The one artifact that a person means: `3f2a`, `train/3f2a`, an alias, or `train`, its newest."""
        if (alias := self.aliases().get(pattern)) and (artifact := self.open(alias.step, alias.key)):
            return artifact
        step, _, start = pattern.rpartition("/")
        found = [
            a for a in self.all() if (fnmatch(a.step, step or "*") and a.key.startswith(start)) or a.step == pattern
        ]
        if not found:
            raise UserError(f"no artifact matches {pattern!r} in {self.url}", "list them with `reground artifacts`")
        return found[-1]

    # Making

    def lease(self, step: str, key: str) -> AbstractContextManager[lease.Lease]:
        """Hold the key, after waiting for whoever computes it; freed when this process ends, however that happens."""
        if self.mirror:
            self.mirror.require_exclusive_create()
        return lease.held(self.objects, f"{step}-{key[:SHORT]}", self.lease_seconds, progress.say)

    def sweep(self) -> None:
        """Remove what killed processes left half-made."""
        for path in (self.root / STAGING).glob("*"):
            with suppress(ValueError):
                if Process.from_tag(path.name).is_dead:
                    remove(path)

    def publish(self, step: str, key: str, staged: Path, record: dict[str, Any]) -> Artifact:
        """Make `staged` the artifact of `key`: files, record, manifest, and one rename.

        If another published the key meanwhile, its artifact is the one.
        """
        if there := self.find(step, key):
            return there
        (staged / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        paths = files_below(staged)
        kept = {name: self.blobs.kept(path) for name, path in paths.items()}
        new = [name for name, digest in kept.items() if digest is None]
        with ThreadPoolExecutor(THREADS) as pool:
            kept |= zip(new, pool.map(self.blobs.keep, [paths[name] for name in new]), strict=True)
        files = {name: {"size": os.stat(path).st_size, "sha256": kept[name]} for name, path in paths.items()}
        manifest = write_manifest(step, key, files, time.time_ns())
        (staged / MANIFEST).write_bytes(manifest)
        for path in [staged / MANIFEST, *{path.parent for path in paths.values()}]:
            flush(path)
        if self.mirror:
            self.mirror.upload(step, key, files, staged, manifest)
        final = self.folder(step, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        self.blobs.discard(final)
        os.rename(staged, final)
        flush(final.parent)
        with self.digests.carried(final / name for name in new):  # some are links to what `work` holds
            shutil.rmtree(self.work(step, key), ignore_errors=True)
        self.digests.commit()
        published = self.open(step, key)
        assert published is not None
        return published

    def remove(self, step: str, key: str) -> None:
        """Remove an artifact at once; blobs that nothing else needs stay for `reground gc`."""
        if self.mirror:
            self.mirror.bucket.delete(manifest_name(step, key))
        self.blobs.discard(self.folder(step, key))

    def set_aside(self, folder: Path) -> None:
        """Move a flawed artifact's folder out of use; `reground gc` removes it when it is old."""
        step, name = folder.parts[-2:]
        flawed = self.root / ".flawed" / step / f"{name}-{time.time_ns()}"
        flawed.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(folder, flawed)

    def fetch(self, artifact: Artifact, names: Iterable[str]) -> Path:
        """The artifact's folder with these files in it, each as published; for a folder store they are there."""
        folder = self.folder(artifact.step, artifact.key)
        if self.mirror:
            self.mirror.fetch(artifact, folder, names)
            self.digests.commit()
        return folder

    # Names and history

    @property
    def promotions(self) -> Promotions:
        """Which adapter is in service, and how that came to be."""
        return Promotions(self)

    def aliases(self) -> dict[str, Alias]:
        """Names for artifacts: champion, previous and challenger by the promotion log, and those that people gave."""
        return aliases.every(self.objects)

    def alias(self, name: str) -> Alias | None:
        return aliases.read(self.objects, name)

    def point(self, name: str, step: str, key: str) -> Alias:
        """Have the alias mean this artifact from now on; others see the old one or the new one, never neither.

        UserError for those that only the promotion log gives.
        """
        return aliases.write(self.objects, name, step, key)

    def log_run(self, name: str, steps: dict[str, Artifact] | None = None) -> RunLog:
        """A run of the config `name` to be logged; see `RunLog`."""
        return RunLog(self.objects, name, steps or {})

    def runs(self, most: int | None = None) -> list[Run]:
        """The runs that were logged, or the newest of them, newest first."""
        return RunLog.all(self.objects, most)

    # Within

    def _listed(self, name: str, content: bytes) -> Artifact | None:
        artifact = Artifact.from_manifest(content, self)
        if not artifact or manifest_name(artifact.step, artifact.key) != name:
            return None
        # Those who list read records; of a bucket they are verified as they are fetched.
        record = (self.root / name).with_name(RECORD)
        return None if not self.mirror and self.blobs.differs(record, artifact.all_files[RECORD]) else artifact

    def _flaw(self, artifact: Artifact) -> str | None:
        folder = self.folder(artifact.step, artifact.key)
        flaw = self.mirror.flaw(artifact, folder) if self.mirror else self._flaw_in(folder, artifact)
        self.digests.commit()
        return flaw

    def _flaw_in(self, folder: Path, artifact: Artifact) -> str | None:
        for name, each in artifact.all_files.items():
            if flaw := self.blobs.differs(folder / name, each):
                return f"{name} {flaw}"
        return None


def _mirror(url: str, blobs: Blobs, lease_seconds: float) -> "Mirror":
    from tasks.engine.storage.bucket import Bucket  # a folder needs none of it
    from tasks.engine.storage.mirror import Mirror

    return Mirror(Bucket(url), blobs, lease_seconds)


def _cache(folder: Path | None, url: str) -> Path:
    """The folder for what is fetched from a bucket: one per URL."""
    base = folder or cache_folder()
    if base is None:
        raise UserError(f"store: no folder to keep what is fetched from {url}", "set `cache` to a folder")
    return base / sha256(url.encode()).hexdigest()[:SHORT]
