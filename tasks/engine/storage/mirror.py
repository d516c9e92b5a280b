"""What this machine has of a bucket's artifacts: fetched when it is asked for, believed once its bytes are verified."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import md5, sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from tasks.engine import progress
from tasks.engine.errors import UserError
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import MANIFEST, RECORD, SHORT, Artifact, manifest_name
from tasks.engine.storage.blobs import Blobs, blob_name
from tasks.engine.storage.bucket import Bucket
from tasks.engine.storage.disk import full_disk_explained
from tasks.engine.storage.objects import Folder, Info, Objects


class Mirror:
    """Artifacts of `bucket` in the folder of `blobs`, which is laid out as a store in a folder is."""

    def __init__(self, bucket: Bucket, blobs: Blobs, lease_seconds: float) -> None:
        self.bucket = bucket
        self.blobs = blobs
        self.here = Folder(blobs.root)
        self.lease_seconds = lease_seconds

    def manifests(self, listed: dict[str, Info]) -> list[bytes | None]:
        """The content of each manifest that the bucket lists; a copy that is here will do if it is the same."""
        here = {}
        for name, info in listed.items():
            content = self.here.read(name)
            if content and md5(content).hexdigest() == info.tag:
                here[name] = content
        away = [name for name in listed if name not in here]
        fetched = dict(zip(away, self.bucket.read_all(away), strict=True))
        return [here.get(name) or fetched[name] for name in listed]

    def fetch_records(self, artifacts: list[Artifact]) -> None:
        """Fetch the records of these from the bucket, many at once; one that is harmed is told when it is read."""
        digests = {artifact.all_files[RECORD]["sha256"] for artifact in artifacts}
        missing = {blob_name(digest): digest for digest in digests if not self.blobs.has(digest)}
        if missing:
            contents = self.bucket.read_all(missing)
            with full_disk_explained(self.here.root), self.blobs.staging() as staging:
                for digest, content in zip(missing.values(), contents, strict=True):
                    if content is not None and sha256(content).hexdigest() == digest:
                        (staging / digest).write_bytes(content)
                        self.blobs.keep(staging / digest)
            self.blobs.digests.commit()

    def flaw(self, artifact: Artifact, folder: Path) -> str | None:
        """Files that are here are judged by their bytes, the others by being there with the right size."""
        remote = {
            name: each
            for name, each in artifact.all_files.items()
            if self.blobs.differs(folder / name, each) and not self.blobs.has(each["sha256"])
        }
        there = self.bucket.infos({blob_name(each["sha256"]) for each in remote.values()})
        for name, each in remote.items():
            info = there.get(blob_name(each["sha256"]))
            if info is None:
                return f"{name} is gone"
            if info.size != each["size"]:
                return f"{name} has {info.size} bytes instead of {each['size']}"
        return None

    def upload(self, step: str, key: str, files: dict[str, dict[str, Any]], staged: Path, manifest: bytes) -> None:
        """Blobs that are not there yet, then the manifest: whoever sees it finds everything that it names."""
        with publishing(self.bucket, self.lease_seconds):
            wanted = {blob_name(each["sha256"]): (name, each["size"]) for name, each in files.items()}
            there = self.bucket.infos(wanted)
            self.bucket.upload(
                {
                    blob: staged / name
                    for blob, (name, size) in wanted.items()
                    if blob not in there or there[blob].size != size
                }
            )
            self.bucket.write(manifest_name(step, key), manifest)

    def fetch(self, artifact: Artifact, folder: Path, names: Iterable[str]) -> None:
        """Have these files of the artifact in its folder here, each as it was published."""
        if self.here.read(manifest_name(artifact.step, artifact.key)) != artifact.manifest:  # made anew elsewhere
            self.blobs.discard(folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST).write_bytes(artifact.manifest)
        every = artifact.all_files
        missing = {name: every[name]["sha256"] for name in names if self.blobs.differs(folder / name, every[name])}
        if missing:
            with full_disk_explained(self.here.root):
                self._download(artifact, folder, missing)

    def require_exclusive_create(self) -> None:
        """Ask a bucket's service once per machine whether conditional writes work."""
        mark = self.here.root / ".conditional-writes"
        if not mark.exists():
            self.bucket.require_exclusive_create()
            self.here.root.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def _download(self, artifact: Artifact, folder: Path, missing: dict[str, str]) -> None:
        wanted = sorted({digest for digest in missing.values() if not self.blobs.has(digest)})
        with self.blobs.staging() as staging:
            try:
                self.bucket.download({blob_name(digest): staging / digest for digest in wanted})
            except FileNotFoundError:
                raise self._refuse(artifact, "a file of it is gone") from None
            for digest in wanted:
                if self.blobs.digests.of(staging / digest) != digest:
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
        self.bucket.write(f".flawed/{artifact.step}/{artifact.key[:SHORT]}/{MANIFEST}", artifact.manifest)
        self.bucket.delete(manifest_name(artifact.step, artifact.key))
        return UserError(f"{artifact.about} in {self.bucket.url} is flawed: {flaw}", "run again: it will be made anew")


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
        lease.wait_for(objects, "gc", lease_seconds, progress.say)
