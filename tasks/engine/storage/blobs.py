"""Files by their content: `.blobs/ab/ab3f…` is the file with this SHA-256.

An artifact's files are hard links to blobs, so a file that many artifacts share is stored once. Where the file system
has no hard links an artifact's files are copies, and there are no blobs.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.engine.digests import Digests
from tasks.engine.storage.objects import BLOBS, flush, temporary


def blob_name(digest: str) -> str:
    return f"{BLOBS}/{digest[:2]}/{digest}"


class Blobs:
    """The blobs of a folder store, or of a bucket's local cache."""

    def __init__(self, root: Path, digests: Digests) -> None:
        self.root = root
        self.digests = digests

    def path(self, digest: str) -> Path:
        return self.root / blob_name(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is there, with the content that its name says."""
        try:
            return self.digests.of(self.path(digest)) == digest
        except OSError:
            return False

    def add(self, path: Path) -> str:
        """Make a file a blob, or a link to the existing blob; returns its digest. It is flushed to disk then."""
        if path.is_symlink():
            _replace_by_copy(path)
        digest = self.digests.of(path)
        blob = self.path(digest)
        if blob.exists() and os.path.samefile(blob, path):
            return digest
        if self.has(digest) and self._linked(digest, path):
            if not os.path.samefile(blob, path):  # a copy: the file system allows no more links
                flush(path)
            return digest
        flush(path)
        blob.parent.mkdir(parents=True, exist_ok=True)
        with temporary(self.root) as link:
            try:
                with self.digests.carried([path]):
                    os.link(path, link)
                    os.replace(link, blob)
            except OSError:
                if link.exists():
                    raise
        return digest

    def known(self, path: Path) -> str | None:
        """The digest of a file that is linked to its blob already, if it is known without reading the file."""
        stat = os.lstat(path)  # no digest of a symbolic link is known
        if digest := self.digests.known(stat):
            with suppress(OSError):
                blob = os.stat(f"{self.root}/{blob_name(digest)}")
                return digest if (blob.st_dev, blob.st_ino) == (stat.st_dev, stat.st_ino) else None
        return None

    def link_into(self, digest: str, target: Path) -> None:
        """Replace the target by the blob, atomically."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary(self.root) as link:
            self.digests.link(self.path(digest), link)
            with self.digests.carried([self.path(digest)]):
                os.replace(link, target)
                link.unlink(missing_ok=True)  # a rename onto another link of the same file leaves both

    def difference(self, path: Path, wanted: dict[str, Any]) -> str | None:
        """How a file differs from its line of a manifest, or None."""
        try:
            size = path.stat().st_size
            if size != wanted["size"]:
                return f"has {size} bytes instead of {wanted['size']}"
            return None if self.digests.of(path) == wanted["sha256"] else "has other content than was published"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return "is gone"

    def _linked(self, digest: str, target: Path) -> bool:
        """Link the blob to the target, unless `gc` removed it just now."""
        try:
            self.link_into(digest, target)
        except FileNotFoundError:
            return False
        return True

    def discard(self, folder: Path) -> None:
        """Remove a folder in one rename."""
        with temporary(self.root) as aside, suppress(FileNotFoundError):
            os.rename(folder, aside)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the store's own disk; removed afterwards unless published."""
        with temporary(self.root) as folder:
            folder.mkdir()
            yield folder


def _replace_by_copy(path: Path) -> None:
    """What a symbolic link points to may change."""
    copy = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    shutil.copyfile(path, copy)
    os.replace(copy, path)
