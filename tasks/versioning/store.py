"""Where artifacts are kept: in a folder or a bucket, each published whole or not at all.

    artifacts/
      train/3f2a9c01b7e4d582/     an artifact: its files, record.json and, written last, manifest.json
      aliases/  runs/             names for artifacts, and what each run used
      .blobs/                     every file by its content; an artifact's files are links to these
      .leases/                    who computes what just now
      .work/train/3f2a…/          what a step keeps across a crash, its checkpoints, say
      .staging/                   half-made artifacts; swept
      .failed/  .flawed/          what a failed step had written, and artifacts that turned out harmed

A manifest names every file with size and SHA-256. It is there only once all of them are, and an artifact is believed
only while each file is as the manifest says. A bucket holds manifests and blobs; a folder on this machine, laid out
as above, holds what was fetched from it. Steps only ever see folders.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from fnmatch import fnmatch
from hashlib import md5, sha256
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any

import orjson

from tasks import progress
from tasks.errors import UserError
from tasks.versioning import aliases, lease
from tasks.versioning.aliases import Alias
from tasks.versioning.artifact import MANIFEST, RECORD, SHORT, Artifact, write_manifest
from tasks.versioning.blobs import Blobs, blob_name
from tasks.versioning.digests import cache_folder, digests
from tasks.versioning.inputs import files_below
from tasks.versioning.objects import STAGING, Folder, Objects, flush, remove
from tasks.versioning.process import Process
from tasks.versioning.runs import Run, RunLog

THREADS = 8  # hashing and flushing wait for the disk

__all__ = ["MANIFEST", "RECORD", "SHORT", "Alias", "Artifact", "Run", "Store", "full_disk_explained"]


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
        self.objects: Objects
        if "://" in self.url:
            from tasks.versioning.bucket import Bucket  # a folder needs none of it

            self.bucket: Bucket | None = Bucket(self.url)
            self.objects = self.bucket
            self.root = _cache(cache, self.url).resolve()
        else:
            self.root = Path(self.url).expanduser().resolve()
            self.url = str(self.root)
            self.bucket = None
            self.objects = Folder(self.root)
        self.blobs = Blobs(self.root, self.digests)

    def folder(self, step: str, key: str) -> Path:
        return self.root / step / key[:SHORT]

    def work(self, step: str, key: str) -> Path:
        """A folder for this key alone that outlives a crash; emptied when the artifact is published."""
        return self.root / ".work" / step / key[:SHORT]

    # What is there

    def open(self, step: str, key: str) -> Artifact | None:
        """The artifact as its manifest tells it, its files unread; None if there is none."""
        content = self.objects.read(_manifest(step, key))
        artifact = Artifact.from_manifest(content, self) if content else None
        return artifact if artifact and (artifact.step, artifact.key) == (step, key) else None

    def flaw(self, step: str, key: str) -> str | None:
        """Why the artifact cannot be believed, or None if every byte is as it was published.

        Of a bucket, files that were fetched are judged by their bytes, the others by being there with the right size:
        their bytes are judged when they are fetched.
        """
        artifact = self.open(step, key)
        if artifact is None:
            there = self.objects.glob(_manifest(step, key)) or (not self.bucket and self.folder(step, key).exists())
            return f"{MANIFEST} is missing or damaged" if there else "never made"
        return self._flaw(artifact)

    def find(self, step: str, key: str) -> Artifact | None:
        """The artifact, verified as `flaw` does; None if it is absent or flawed."""
        artifact = self.open(step, key)
        return artifact if artifact and self._flaw(artifact) is None else None

    def all(self, step: str | None = None) -> list[Artifact]:
        """Every artifact whose manifest and record are whole, oldest first."""
        listed = self.objects.glob(f"{step or '*'}/*/{MANIFEST}")
        contents = [_read(self.root / name) for name in listed]
        if self.bucket:  # a copy that is here will do if it is the same
            pairs = zip(listed.items(), contents, strict=True)
            here = {
                name: content for (name, info), content in pairs if content and md5(content).hexdigest() == info.tag
            }
            away = [name for name in listed if name not in here]
            here |= {name: content for name, content in zip(away, self.bucket.read_all(away), strict=True) if content}
            contents = [here.get(name) for name in listed]
        found = [self._listed(name, content) for name, content in zip(listed, contents, strict=True) if content]
        artifacts = sorted((a for a in found if a), key=lambda a: (a.made_ns, a.about))
        if self.bucket:
            self._fetch_records(artifacts)
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
            raise UserError(f"no artifact matches {pattern!r} in {self.url}", "list them with `reground versions`")
        return found[-1]

    # Making

    def lease(self, step: str, key: str) -> AbstractContextManager[lease.Lease]:
        """Hold the key, after waiting for whoever computes it; freed when this process ends, however that happens."""
        self._require_exclusive_create()
        return lease.held(self.objects, f"{step}-{key[:SHORT]}", self.lease_seconds, progress.say)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the store's own file system; gone afterwards unless published."""
        with self.blobs.temporary() as folder:
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

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
        with ThreadPoolExecutor(THREADS) as pool:
            kept = list(pool.map(self.blobs.keep, paths.values()))
        files = {
            name: {"size": path.stat().st_size, "sha256": digest}
            for (name, path), digest in zip(paths.items(), kept, strict=True)
        }
        manifest = write_manifest(step, key, files, time.time_ns())
        (staged / MANIFEST).write_bytes(manifest)
        for path in [staged / MANIFEST, *{path.parent for path in paths.values()}]:
            flush(path)
        if self.bucket:
            self._upload(step, key, files, staged, manifest)
        final = self.folder(step, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        self._make_way(final)
        os.rename(staged, final)
        flush(final.parent)
        with self.digests.carried(final / name for name in files):
            shutil.rmtree(self.work(step, key), ignore_errors=True)
        self.digests.commit()
        published = self.open(step, key)
        assert published is not None
        return published

    def remove(self, step: str, key: str) -> None:
        """Remove an artifact at once; blobs that nothing else needs stay for `reground gc`."""
        if self.bucket:
            self.bucket.delete(_manifest(step, key))
        self._make_way(self.folder(step, key))

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
        if not self.bucket:
            return folder
        if _read(folder / MANIFEST) != artifact.manifest:  # made anew elsewhere
            self._make_way(folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST).write_bytes(artifact.manifest)
        every = artifact.all_files
        missing = {name: every[name]["sha256"] for name in names if self._differs(folder / name, every[name])}
        if missing:
            with full_disk_explained(self.root):
                self._download(artifact, folder, missing)
        self.digests.commit()
        return folder

    # Names and history

    def aliases(self) -> dict[str, Alias]:
        """Names for artifacts, such as `champion`."""
        return aliases.every(self.objects)

    def alias(self, name: str) -> Alias | None:
        return aliases.read(self.objects, name)

    def point(self, name: str, step: str, key: str) -> Alias:
        """Have the alias mean this artifact from now on; others see the old one or the new one, never neither."""
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
        if not artifact or _manifest(artifact.step, artifact.key) != name:
            return None
        # Those who list read records; of a bucket they are verified as they are fetched.
        record = (self.root / name).with_name(RECORD)
        return None if not self.bucket and self._differs(record, artifact.all_files[RECORD]) else artifact

    def _fetch_records(self, artifacts: list[Artifact]) -> None:
        """Fetch the records of these from the bucket, many at once; one that is harmed is told when it is read."""
        assert self.bucket
        digests = {artifact.all_files[RECORD]["sha256"] for artifact in artifacts}
        missing = {blob_name(digest): digest for digest in digests if not self.blobs.has(digest)}
        if missing:
            contents = self.bucket.read_all(missing)
            with full_disk_explained(self.root), self.staging() as staging:
                for digest, content in zip(missing.values(), contents, strict=True):
                    if content is not None and sha256(content).hexdigest() == digest:
                        (staging / digest).write_bytes(content)
                        self.blobs.keep(staging / digest)
            self.digests.commit()

    def _flaw(self, artifact: Artifact) -> str | None:
        flaw = self._flaw_in_bucket(artifact) if self.bucket else self._flaw_here(artifact)
        self.digests.commit()
        return flaw

    def _flaw_here(self, artifact: Artifact) -> str | None:
        folder = self.folder(artifact.step, artifact.key)
        for name, each in artifact.all_files.items():
            if flaw := self._differs(folder / name, each):
                return f"{name} {flaw}"
        return None

    def _flaw_in_bucket(self, artifact: Artifact) -> str | None:
        assert self.bucket
        folder = self.folder(artifact.step, artifact.key)
        remote = {
            name: each
            for name, each in artifact.all_files.items()
            if self._differs(folder / name, each) and not self.blobs.has(each["sha256"])
        }
        there = self.bucket.infos({blob_name(each["sha256"]) for each in remote.values()})
        for name, each in remote.items():
            info = there.get(blob_name(each["sha256"]))
            if info is None:
                return f"{name} is gone"
            if info.size != each["size"]:
                return f"{name} has {info.size} bytes instead of {each['size']}"
        return None

    def _differs(self, path: Path, wanted: dict[str, Any]) -> str | None:
        """How a file on this machine differs from what the manifest says, or None."""
        try:
            size = path.stat().st_size
            if size != wanted["size"]:
                return f"has {size} bytes instead of {wanted['size']}"
            return None if self.digests.of(path) == wanted["sha256"] else "has other content than was published"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return "is gone"

    def _make_way(self, folder: Path) -> None:
        """Remove a folder in one rename."""
        with self.blobs.temporary() as aside, suppress(FileNotFoundError):
            os.rename(folder, aside)

    def _upload(self, step: str, key: str, files: dict[str, dict[str, Any]], staged: Path, manifest: bytes) -> None:
        """Blobs that are not there yet, then the manifest: whoever sees it finds everything that it names."""
        assert self.bucket
        with publishing(self):
            wanted = {blob_name(each["sha256"]): (name, each["size"]) for name, each in files.items()}
            there = self.bucket.infos(wanted)
            self.bucket.upload(
                {
                    blob: staged / name
                    for blob, (name, size) in wanted.items()
                    if blob not in there or there[blob].size != size
                }
            )
            self.bucket.write(_manifest(step, key), manifest)

    def _download(self, artifact: Artifact, folder: Path, missing: dict[str, str]) -> None:
        assert self.bucket
        wanted = sorted({digest for digest in missing.values() if not self.blobs.has(digest)})
        with self.staging() as staging:
            try:
                self.bucket.download({blob_name(digest): staging / digest for digest in wanted})
            except FileNotFoundError:
                raise self._refuse(artifact, "a file of it is gone") from None
            for digest in wanted:
                if self.digests.of(staging / digest) != digest:
                    self.bucket.delete(blob_name(digest))  # or the next to publish it would take it for good
                    raise self._refuse(artifact, f"the blob {digest[:SHORT]}… has other content than was published")
                self.blobs.keep(staging / digest)
            for name, digest in missing.items():
                if self.blobs.has(digest):
                    self.blobs.lay(digest, folder / name)
                else:  # no hard links here
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    with self.blobs.temporary() as copy:
                        shutil.copyfile(staging / digest, copy)
                        os.replace(copy, folder / name)

    def _refuse(self, artifact: Artifact, flaw: str) -> UserError:
        """Take a flawed artifact of a bucket out of use, so that the next run makes it again."""
        assert self.bucket
        self.bucket.write(f".flawed/{artifact.step}/{artifact.key[:SHORT]}/{MANIFEST}", artifact.manifest)
        self.bucket.delete(_manifest(artifact.step, artifact.key))
        return UserError(f"{artifact.about} in {self.url} is flawed: {flaw}", "run again: it will be made anew")

    def _require_exclusive_create(self) -> None:
        """Ask a bucket's service once per machine whether conditional writes work."""
        mark = self.root / ".conditional-writes"
        if self.bucket and not mark.exists():
            self.bucket.require_exclusive_create()
            self.root.mkdir(parents=True, exist_ok=True)
            mark.touch()


@contextmanager
def publishing(store: Store) -> Iterator[None]:
    """Keep `reground gc` from deleting blobs that a publisher found there and counts on.

    Each side shows its flag first and looks for the other's second, so that one of them always sees the other.
    """
    while True:
        with lease.held(store.objects, f"publish-{token_hex(8)}", store.lease_seconds, progress.say):
            if not store.objects.glob(f"{lease.LEASES}/gc/*"):
                yield
                return
        with lease.held(store.objects, "gc", store.lease_seconds, progress.say):
            pass  # it has ended, or died


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


def _manifest(step: str, key: str) -> str:
    return f"{step}/{key[:SHORT]}/{MANIFEST}"


def _cache(folder: Path | None, url: str) -> Path:
    """The folder for what is fetched from a bucket: one per URL."""
    base = folder or cache_folder()
    if base is None:
        raise UserError(f"store: no folder to keep what is fetched from {url}", "set `cache` to a folder")
    return base / sha256(url.encode()).hexdigest()[:SHORT]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
