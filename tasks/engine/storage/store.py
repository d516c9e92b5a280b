"""Where artifacts are kept: in a folder or a bucket, each published completely or not at all.

    artifacts/
      train/3f2a9c01b7e4d582/     an artifact: its files, record.json and, written last, manifest.json
      projects/tiny/              names for artifacts, and what each run used, of one project
      .blobs/                     every file by its content; an artifact's files are links to these
      .leases/                    who computes what just now
      .work/train/3f2a…/          what a step keeps across a crash, such as checkpoints
      .staging/                   unfinished artifacts; swept
      .failed/  .flawed/          what a failed step had written, and artifacts that turned out damaged

A manifest names every file with size and SHA-256. It is there only once all of them are, and an artifact counts only
while each file is as the manifest says. A bucket holds manifests and blobs; a folder on this machine, laid out as
above, holds what was fetched from it. Steps only ever see folders.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import copy
from fnmatch import fnmatch
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from tasks.engine import progress
from tasks.engine.digests import cache_folder, digests
from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below
from tasks.engine.storage import lease, references
from tasks.engine.storage.artifact import (
    MANIFEST,
    MISSING,
    RECORD,
    SHORT,
    Artifact,
    CorruptArtifact,
    Problem,
    folder_name,
    manifest_name,
    write_manifest,
)
from tasks.engine.storage.blobs import Blobs
from tasks.engine.storage.copies import InPlace, Mirror
from tasks.engine.storage.objects import STAGING, Folder, Objects, apply_umask, flush, remove
from tasks.engine.storage.process import Process
from tasks.engine.storage.references import PROJECTS, Alias, Run, RunLog

THREADS = 8  # hashing and flushing wait for the disk

__all__ = ["MANIFEST", "MISSING", "RECORD", "SHORT", "Alias", "Artifact", "CorruptArtifact", "Run", "Store"]


class Store:
    """Artifacts in a folder, or below ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    `root` is always a folder of this machine: the store itself, or for a bucket what was fetched from it, in a folder
    of its own below `cache` (default: ~/.cache/reground). `lease_seconds` is how long a holder of a key on another
    machine is waited for without a sign of life. Artifacts are every project's; aliases and runs are `project`'s own.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        cache: Path | None = None,
        lease_seconds: float = lease.SECONDS,
        project: str = "",
    ) -> None:
        self.project = project
        self.url = str(url).removeprefix("file://").rstrip("/") or "/"
        self.lease_seconds = lease_seconds
        self.digests = digests()
        remote = "://" in self.url
        self.root = (_cache(cache, self.url) if remote else Path(self.url).expanduser()).resolve()
        self.blobs = Blobs(self.root, self.digests)
        self.local = Folder(self.root)
        if remote:
            from tasks.engine.storage.bucket import Bucket  # a folder needs none of it

            self.copies: InPlace = Mirror(self.local, self.blobs, Bucket(self.url), lease_seconds)
        else:
            if self.root.is_file():
                raise UserError(f"store: {self.root} is a file", "name a folder; one that is not there yet is made")
            self.url = str(self.root)
            self.copies = InPlace(self.local, self.blobs)
        self.objects: Objects = self.copies.objects

    def folder(self, step: str, key: str) -> Path:
        return self.root / folder_name(step, key)

    def work(self, step: str, key: str) -> Path:
        """A folder for this key alone that outlives a crash; emptied when the artifact is published."""
        return self.root / ".work" / folder_name(step, key)

    def artifact_folders(self) -> list[Path]:
        """The folders on this machine that are an artifact's by their names, whole or not."""
        found = sorted(self.root.glob("[!.]*/*"))
        return [path for path in found if re.fullmatch("[0-9a-f]{16}", path.name) and path.parent.name != PROJECTS]

    # What is there

    def open(self, step: str, key: str) -> Artifact | None:
        """The artifact by its manifest, its files unread; None if there is none."""
        content = self.objects.read(manifest_name(step, key))
        artifact = Artifact.from_manifest(content, self) if content else None
        return artifact if artifact and (artifact.step, artifact.key) == (step, key) else None

    def problem(self, step: str, key: str) -> Problem | None:
        """Why the artifact cannot be used: MISSING, or what is damaged; None if every byte is as it was published.

        In a bucket, files that were fetched are judged by their bytes, the others by being there with the right size:
        their bytes are judged when they are fetched.
        """
        artifact = self.open(step, key)
        if artifact is None:
            there = self.objects.glob(f"{folder_name(step, key)}/*")
            return Problem(f"{MANIFEST} is missing or damaged") if there else MISSING
        return self._problem(artifact)

    def find(self, step: str, key: str) -> Artifact | None:
        """The artifact, verified as `problem` does; None if it is absent or damaged."""
        artifact = self.open(step, key)
        return artifact if artifact and self._problem(artifact) is None else None

    def require(
        self, step: str, key: str, *, purpose: str = "", instead: str = "run again the retraining that made it"
    ) -> Artifact:
        """The artifact, verified. CorruptArtifact if it is gone or damaged, with what to do `instead` of restoring."""
        found = self.find(step, key)
        if not found:
            raise CorruptArtifact(
                f"{purpose}{folder_name(step, key)} is not intact: {self.problem(step, key)}",
                f"restore it from a backup, or {instead}",
            )
        return found

    def all(self, step: str | None = None) -> list[Artifact]:
        """Every artifact whose manifest and record are intact, oldest first."""
        listed = self.objects.glob(f"{step or '*'}/*/{MANIFEST}")
        contents = zip(listed, self.copies.manifests(listed), strict=True)
        found = [(name, Artifact.from_manifest(content, self)) for name, content in contents if content]
        artifacts = [a for name, a in found if a and manifest_name(a.step, a.key) == name]
        return self.copies.intact_records(sorted(artifacts, key=lambda a: (a.made_ns, a.about)))

    def recent(
        self, step: str, most: int = 4, fits: Callable[[Artifact], bool] = lambda artifact: True
    ) -> list[Artifact]:
        """The newest artifacts of a step that are verified and fit, newest first."""
        newest = reversed(self.all(step))
        return list(islice((a for a in newest if self._problem(a) is None and fits(a)), most))

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
        self.require_exclusive_create()
        return lease.held(self.objects, f"{step}-{key[:SHORT]}", self.lease_seconds, progress.say)

    def require_exclusive_create(self) -> None:
        """UserError for a place where two processes could create the same object."""
        self.copies.require_exclusive_create()

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        for path in (self.root / STAGING).glob("*"):
            with suppress(ValueError):
                if Process.from_tag(path.name).is_dead:
                    remove(path)

    def publish(self, step: str, key: str, staged: Path, record: dict[str, Any]) -> Artifact:
        """Make `staged` the artifact of `key`: files, record, manifest, and one rename.

        If another published the key meanwhile, its artifact is returned.
        """
        if there := self.find(step, key):
            return there
        apply_umask(staged)
        (staged / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        paths = files_below(staged)
        known = {name: self.blobs.known(path) for name, path in paths.items()}
        new = [name for name, digest in known.items() if digest is None]
        with ThreadPoolExecutor(THREADS) as pool:
            known |= zip(new, pool.map(self.blobs.add, [paths[name] for name in new]), strict=True)
        files = {name: {"size": os.stat(path).st_size, "sha256": known[name]} for name, path in paths.items()}
        manifest = write_manifest(step, key, files, time.time_ns())
        (staged / MANIFEST).write_bytes(manifest)
        for path in [staged / MANIFEST, *{path.parent for path in paths.values()}]:
            flush(path)
        made = Artifact.from_manifest(manifest, self)
        assert made is not None
        self.copies.publish(made, staged)
        final = self.folder(step, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        self.blobs.discard(final)
        os.rename(staged, final)
        flush(final.parent)
        with self.digests.carried(final / name for name in new):  # some are links to what `work` holds
            shutil.rmtree(self.work(step, key), ignore_errors=True)
        self.digests.commit()
        return made

    def remove(self, step: str, key: str) -> None:
        """Remove an artifact, atomically; blobs that nothing else needs stay for `reground gc`."""
        self.copies.remove(step, key)

    def fetch(self, artifact: Artifact, names: Iterable[str]) -> Path:
        """The artifact's folder with these files in it, each as published; in a folder store they are there."""
        self.copies.fetch(artifact, names)
        return self.folder(artifact.step, artifact.key)

    # Names and history

    @property
    def home(self) -> str:
        """What the names of the project's own objects begin with."""
        return references.home(self.project)

    def of(self, project: str) -> "Store":
        """The store as another of its projects has it."""
        other = copy(self)
        other.project = project
        return other

    def projects(self) -> "list[Store]":
        """The store as each of its projects has it; first as one that is older than projects."""
        return [self.of(name) for name in ("", *references.read_projects(self.objects))]

    def aliases(self) -> dict[str, Alias]:
        """The names that people gave to artifacts."""
        return references.read_aliases(self.objects, self.project)

    def point(self, name: str, step: str, key: str) -> Alias:
        """Have the alias mean this artifact from now on; readers see the old one or the new one, never neither."""
        return references.write_alias(self.objects, name, step, key, self.project)

    @contextmanager
    def log_run(self, name: str) -> Iterator[RunLog]:
        """Log a run of the config `name`: completed, or failed if an error leaves the block; running if it is killed.

        with store.log_run("tiny") as run:
            run.step_done("train", artifact)
        """
        run = RunLog(self.objects, name, self.project)
        run.write("running")
        try:
            yield run
        except BaseException:
            run.write("failed")
            raise
        run.write("completed")

    def log_fresh_run(self, name: str, steps: Mapping[str, Artifact]) -> None:
        """Log a run that found everything fresh and is over."""
        run = RunLog(self.objects, name, self.project)
        for label, artifact in steps.items():
            run.step_done(label, artifact, at_once=False)
        run.write("completed")

    def runs(self, most: int | None = None) -> list[Run]:
        """The logged runs, or the newest of them, newest first."""
        return references.read_runs(self.objects, most, self.project)

    def _problem(self, artifact: Artifact) -> Problem | None:
        damage = self.copies.damage(artifact)
        self.digests.commit()
        return Problem(damage) if damage else None


def _cache(folder: Path | None, url: str) -> Path:
    """The folder for what is fetched from a bucket: one for each URL."""
    base = folder or cache_folder()
    if base is None:
        raise UserError(f"store: no folder to keep what is fetched from {url}", "set `cache` to a folder")
    return base / sha256(url.encode()).hexdigest()[:SHORT]
