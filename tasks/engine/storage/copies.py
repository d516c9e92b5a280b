"""How artifacts' files get to this machine: a folder store has them in place, a bucket's are fetched and verified.

Both lay out the folder of `blobs` in the same way, so that steps only ever see folders.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from tasks.engine import progress
from tasks.engine.errors import disk_explained
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import MANIFEST, RECORD, SHORT, Artifact, CorruptArtifact, folder_name, manifest_name
from tasks.engine.storage.blobs import Blobs, blob_name
from tasks.engine.storage.objects import Folder, Info, Objects, require_exclusive_create, temporary

if TYPE_CHECKING:
    from tasks.engine.storage.bucket import Bucket

AT_ONCE = 16  # records that are fetched


class InPlace:
    """A folder store: every file of an artifact is in its folder."""

    def __init__(self, local: Folder, blobs: Blobs) -> None:
        self.local = local
        self.blobs = blobs
        self.places: list[Objects] = [local]  # where blobs and leases may be

    @property
    def objects(self) -> Objects:
        """The place that says which artifacts there are."""
        return self.places[-1]

    def manifests(self, listed: dict[str, Info]) -> list[bytes | None]:
        return self.local.read_all(listed)

    def intact_records(self, artifacts: list[Artifact]) -> list[Artifact]:
        """The artifacts whose records are intact, so that whoever lists them can read these."""
        return [a for a in artifacts if not self.blobs.difference(self._folder(a) / RECORD, a.all_files[RECORD])]

    def damage(self, artifact: Artifact) -> str | None:
        for name, each in artifact.all_files.items():
            if difference := self.blobs.difference(self._folder(artifact) / name, each):
                return f"{name} {difference}"
        return None

    def publish(self, artifact: Artifact, staged: Path) -> None:
        """Make the staged files known to others; in place, the rename that follows does it."""

    def fetch(self, artifact: Artifact, names: Iterable[str]) -> None:
        """Put these files of the artifact into its folder, each verified."""

    def restore(self, name: str, digest: str) -> None:
        """Replace a damaged file by the intact blob on this machine."""
        self.blobs.link_into(digest, self.local.root / name)

    def remove(self, step: str, key: str) -> None:
        self.blobs.discard(self.local.root / folder_name(step, key))

    def require_exclusive_create(self) -> None:
        """UserError for a service that ignores the condition of `create`, for then two would hold one lease."""

    def _folder(self, artifact: Artifact) -> Path:
        return self.local.root / folder_name(artifact.step, artifact.key)


class Mirror(InPlace):
    """A bucket: manifests and blobs are in it, and on this machine is what was fetched."""

    def __init__(self, local: Folder, blobs: Blobs, bucket: "Bucket", lease_seconds: float) -> None:
        super().__init__(local, blobs)
        self.bucket = bucket
        self.places = [local, bucket]
        self.lease_seconds = lease_seconds

    def manifests(self, listed: dict[str, Info]) -> list[bytes | None]:
        """A copy on this machine is taken if the bucket lists the same MD5."""
        here = {}
        for name, info in listed.items():
            content = self.local.read(name)
            if content and md5(content).hexdigest() == info.tag:
                here[name] = content
        missing = [name for name in listed if name not in here]
        fetched = dict(zip(missing, self.bucket.read_all(missing), strict=True))
        return [here.get(name) or fetched[name] for name in listed]

    def intact_records(self, artifacts: list[Artifact]) -> list[Artifact]:
        """Fetches the records, many at once."""

        def fetched(artifact: Artifact) -> bool:
            try:
                self.fetch(artifact, [RECORD])
                return True
            except CorruptArtifact:
                return False

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [a for a, intact in zip(artifacts, pool.map(fetched, artifacts), strict=True) if intact]

    def damage(self, artifact: Artifact) -> str | None:
        """Fetched files are judged by their bytes, the others by being in the bucket with the right size."""
        remote = {
            name: each
            for name, each in artifact.all_files.items()
            if self.blobs.difference(self._folder(artifact) / name, each) and not self.blobs.has(each["sha256"])
        }
        there = self.bucket.infos({blob_name(each["sha256"]) for each in remote.values()})
        for name, each in remote.items():
            info = there.get(blob_name(each["sha256"]))
            if info is None:
                return f"{name} is gone"
            if info.size != each["size"]:
                return f"{name} has {info.size} bytes instead of {each['size']}"
        return None

    def publish(self, artifact: Artifact, staged: Path) -> None:
        """Upload the blobs that are not there yet, then the manifest: whoever sees it finds everything it names."""
        with publishing(self.bucket, self.lease_seconds):
            wanted = {blob_name(each["sha256"]): (name, each["size"]) for name, each in artifact.all_files.items()}
            there = self.bucket.infos(wanted)
            self.bucket.upload(
                {
                    blob: staged / name
                    for blob, (name, size) in wanted.items()
                    if blob not in there or there[blob].size != size
                }
            )
            self.bucket.write(manifest_name(artifact.step, artifact.key), artifact.manifest)

    def fetch(self, artifact: Artifact, names: Iterable[str]) -> None:
        folder = self._folder(artifact)
        if self.local.read(manifest_name(artifact.step, artifact.key)) != artifact.manifest:  # another made it again
            self._start_folder(folder, artifact.manifest)
        every = artifact.all_files
        missing = {name: every[name]["sha256"] for name in names if self.blobs.difference(folder / name, every[name])}
        if missing:
            with disk_explained(self.local.root):
                self._download(artifact, folder, missing)
        self.blobs.digests.commit()

    def restore(self, name: str, digest: str) -> None:
        self.bucket.upload({name: self.blobs.path(digest)})

    def remove(self, step: str, key: str) -> None:
        self.bucket.delete(manifest_name(step, key))
        super().remove(step, key)

    def require_exclusive_create(self) -> None:
        """Asked once per machine."""
        mark = self.local.root / ".conditional-writes"
        if not mark.exists():
            require_exclusive_create(self.bucket)
            self.local.root.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _start_folder(self, folder: Path, manifest: bytes) -> None:
        """Replace the folder by one that has the manifest alone, atomically."""
        with self.blobs.staging() as staged:
            (staged / MANIFEST).write_bytes(manifest)
            self.blobs.discard(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(staged, folder)
            except OSError:
                if not folder.exists():  # else another process fetches it as well
                    raise

    def _download(self, artifact: Artifact, folder: Path, missing: dict[str, str]) -> None:
        wanted = sorted({digest for digest in missing.values() if not self.blobs.has(digest)})
        with self.blobs.staging() as staging:
            try:
                self.bucket.download({blob_name(digest): staging / digest for digest in wanted})
            except FileNotFoundError:
                raise self._refuse(artifact, "a file of it is gone") from None
            for digest in wanted:
                if self.blobs.digests.of(staging / digest) != digest:
                    self.bucket.delete(blob_name(digest))  # or the next publisher would rely on it
                    raise self._refuse(artifact, f"the blob {digest[:SHORT]}… has other content than was published")
                self.blobs.add(staging / digest)
            for name, digest in missing.items():
                if self.blobs.has(digest):
                    self.blobs.link_into(digest, folder / name)
                else:  # no hard links here
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    with temporary(self.local.root) as copy:
                        shutil.copyfile(staging / digest, copy)
                        os.replace(copy, folder / name)

    def _refuse(self, artifact: Artifact, problem: str) -> CorruptArtifact:
        """Take a damaged artifact of the bucket out of use, so that the next run makes it again."""
        self.bucket.set_aside(folder_name(artifact.step, artifact.key))
        what = f"{artifact.about} in {self.bucket.url} is damaged: {problem}"
        return CorruptArtifact(what, "run again: it is made again")


@contextmanager
def publishing(objects: Objects, lease_seconds: float) -> Iterator[None]:
    """Keep `reground gc` from deleting blobs that a publisher found there and counts on.

    Each side shows its flag first and looks for the other's second, so that one of them always sees the other.
    """
    while True:
        with lease.held(objects, f"publish-{token_hex(8)}", lease_seconds, progress.say):
            if not objects.glob(f"{lease.LEASES}/gc/*"):
                yield
                return
        with lease.held(objects, "gc", lease_seconds, progress.say):
            pass  # the collection has ended
