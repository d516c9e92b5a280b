"""Check every byte of a store, and mend what can be mended.

A harmed file is linked anew to its blob, a harmed blob of a bucket is uploaded anew, where a good copy is left. Where
none is, the artifact is moved to `.flawed/`, so that the next run makes it again. The promotion log is only checked: a
lost entry is not to be guessed.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from flows.promotion import promotion_log
from tasks.engine.digests import Digests
from tasks.engine.inputs import sha256_json
from tasks.engine.storage import aliases
from tasks.engine.storage.artifact import MANIFEST, RECORD, SHORT, Artifact
from tasks.engine.storage.blobs import BLOBS, blob_name
from tasks.engine.storage.store import Store

CHUNK = 1 << 20  # bytes

Told = Callable[[int], None]  # told of so many bytes that were read


@dataclass(frozen=True)
class Finding:
    """One flaw: where, what, and what was done about it; `mended` is False if nothing could be."""

    where: str
    flaw: str
    done: str
    mended: bool = True


def bytes_to_read(store: Store) -> int:
    """About how many bytes a check reads."""
    shared = {each["sha256"]: each["size"] for a in store.all() for each in a.all_files.values()}
    return sum(shared.values())


def check(store: Store, told: Told = lambda _: None) -> Iterator[Finding]:
    """Read all there is, and yield what was wrong with it."""
    reader = _Reader(store.digests, told)
    yield from _in_bucket(store, reader) if store.bucket else _in_folder(store, reader)
    for blob in store.root.glob(f"{BLOBS}/*/*"):
        if reader.digest(blob) != blob.name:
            blob.unlink()
            yield Finding(f"blob {blob.name[:SHORT]}…", "has other content than its name says", "removed")
    yield from _names(store)
    store.digests.commit()


def _names(store: Store) -> Iterator[Finding]:
    """The promotion log, and what names mean; a log that is not whole tells no roles."""
    objects = store.objects
    for name in promotion_log.never_written(objects):
        objects.delete(name)
        yield Finding(name, "is empty", "removed: its writer died before it wrote a byte")
    flaws = list(promotion_log.flaws(objects))
    for name, flaw in flaws:
        yield Finding(name, flaw, "restore it from a backup: nothing is promoted until then", mended=False)
    for alias in aliases.given(objects).values() if flaws else store.aliases().values():
        if store.open(alias.step, alias.key) is None:
            flaw = f"means {alias.step}/{alias.key[:SHORT]}, which is not there or flawed"
            yield Finding(f"alias {alias.name}", flaw, "make that again, or point it elsewhere", mended=False)
    for name in aliases.without_meaning(objects):
        flaw = "is from before there was a promotion log, and means nothing"
        done = f"`reground promote` what it meant, by hand, and delete {aliases.ALIASES}/{name}.json"
        yield Finding(f"alias {name}", flaw, done, mended=False)


def _in_folder(store: Store, reader: "_Reader") -> Iterator[Finding]:
    for folder in _folders(store):
        name = f"{folder.parent.name}/{folder.name}"
        artifact = _listed(store, name, folder / MANIFEST)
        flaws = [] if artifact else [f"{MANIFEST} is damaged"]
        for file, each in artifact.all_files.items() if artifact else ():
            if reader.digest(folder / file) == each["sha256"]:
                continue
            blob = store.blobs.path(each["sha256"])
            if reader.digest(blob) == each["sha256"]:
                store.blobs.lay(each["sha256"], folder / file)
                yield Finding(f"{name}/{file}", "has other content than was published, or is gone", "linked anew")
            else:
                flaws.append(f"{file} has other content than was published, or is gone")
        if artifact and not flaws:
            flaws = _flaws_of_record(artifact, (folder / RECORD).read_bytes())
        if flaws:
            store.set_aside(folder)
            yield Finding(name, "; ".join(flaws), "moved to .flawed; the next run makes it again")


def _in_bucket(store: Store, reader: "_Reader") -> Iterator[Finding]:
    """Its blobs, then its manifests, then what was fetched from it."""
    assert store.bucket
    good: set[str] = set()
    for name in store.bucket.glob(f"{BLOBS}/*/*"):
        digest = name.rpartition("/")[2]
        if reader.digest_of(store.bucket.chunks(name, CHUNK)) == digest:
            good.add(digest)
        elif reader.digest(store.blobs.path(digest)) == digest:
            store.bucket.upload({name: store.blobs.path(digest)})
            good.add(digest)
            yield Finding(f"blob {digest[:SHORT]}…", "has other content than its name says", "uploaded anew")
        else:
            store.bucket.delete(name)
            yield Finding(f"blob {digest[:SHORT]}…", "has other content than its name says", "removed")
    for path in store.bucket.glob(f"*/*/{MANIFEST}"):
        name = path.removesuffix(f"/{MANIFEST}")
        content = store.bucket.read(path) or b""
        artifact = _named(name, Artifact.from_manifest(content, store))
        flaws = [] if artifact else [f"{MANIFEST} is damaged"]
        for file, each in artifact.all_files.items() if artifact else ():
            digest = each["sha256"]
            if digest not in good and reader.digest(store.blobs.path(digest)) == digest:
                store.bucket.upload({blob_name(digest): store.blobs.path(digest)})
                good.add(digest)
                yield Finding(f"{name}/{file}", "is gone from the bucket", "uploaded anew")
            elif digest not in good:
                flaws.append(f"{file} has other content than was published, or is gone")
        if artifact and not flaws:
            flaws = _flaws_of_record(artifact, store.bucket.read(blob_name(artifact.all_files[RECORD]["sha256"])))
        if flaws:
            store.bucket.write(f".flawed/{path}", content)
            store.bucket.delete(path)
            yield Finding(name, "; ".join(flaws), "moved to .flawed; the next run makes it again")
    for folder in _folders(store):
        artifact = _listed(store, f"{folder.parent.name}/{folder.name}", folder / MANIFEST)
        every = artifact.all_files if artifact else {}
        if any((folder / file).exists() and reader.digest(folder / file) != every[file]["sha256"] for file in every):
            store.set_aside(folder)
            name = f"{folder.parent.name}/{folder.name}"
            yield Finding(name, "a fetched copy has other content than was published", "will be fetched again")


def _flaws_of_record(artifact: Artifact, content: bytes | None) -> list[str]:
    """Whether the artifact's key is the one that its record's payload gives."""
    try:
        payload: Any = orjson.loads(content or b"")["payload"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return [f"{RECORD} is damaged"]
    return [] if sha256_json(payload) == artifact.key else ["its key is not the one that its record gives"]


def _folders(store: Store) -> list[Path]:
    return sorted(p for p in store.root.glob("[!.]*/*") if re.fullmatch("[0-9a-f]{16}", p.name) and p.is_dir())


def _listed(store: Store, name: str, manifest: Path) -> Artifact | None:
    return _named(name, Artifact.from_manifest(manifest.read_bytes(), store)) if manifest.is_file() else None


def _named(name: str, artifact: Artifact | None) -> Artifact | None:
    """The artifact, if it lies where its key belongs."""
    return artifact if artifact and f"{artifact.step}/{artifact.key[:SHORT]}" == name else None


class _Reader:
    """Reads each file once, however many links it has."""

    def __init__(self, digests: Digests, told: Told) -> None:
        self._digests = digests
        self._told = told
        self._read: dict[tuple[int, int], str] = {}

    def digest(self, path: Path) -> str | None:
        """The SHA-256 of what the disk holds now; None if there is no such file."""
        try:
            with path.open("rb") as file:
                stat = path.stat()
                if (stat.st_dev, stat.st_ino) not in self._read:
                    digest = self.digest_of(iter(lambda: file.read(CHUNK), b""))
                    self._read[stat.st_dev, stat.st_ino] = digest
                    if self._digests.known(stat) not in (digest, None):  # the disk lost it without a write
                        self._digests.forget(path)
                return self._read[stat.st_dev, stat.st_ino]
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def digest_of(self, chunks: Iterable[bytes]) -> str:
        hashed = hashlib.sha256()
        for chunk in chunks:
            hashed.update(chunk)
            self._told(len(chunk))
        return hashed.hexdigest()
