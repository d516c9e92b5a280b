"""Check every byte of a store, and mend what can be mended.

A damaged file is restored from the blob on this machine where that is intact. Where none is, the artifact is moved to
`.flawed/`, so that the next run makes it again.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tasks.engine.inputs import sha256_json
from tasks.engine.storage.artifact import MANIFEST, RECORD, SHORT, Artifact
from tasks.engine.storage.blobs import blob_name
from tasks.engine.storage.objects import BLOBS, Objects
from tasks.engine.storage.references import Alias
from tasks.engine.storage.store import Store

CHUNK = 1 << 20  # bytes
DAMAGED = "has other content than was published, or is gone"

OnRead = Callable[[int], None]  # called with the number of bytes that were read


@dataclass(frozen=True)
class Finding:
    """One problem: where, what, and what was done about it; `mended` is False if nothing could be."""

    where: str
    problem: str
    done: str
    mended: bool = True


def bytes_to_read(store: Store) -> int:
    """About how many bytes a check reads."""
    shared = {each["sha256"]: each["size"] for a in store.all() for each in a.all_files.values()}
    return sum(shared.values())


def check(store: Store, on_read: OnRead = lambda _: None) -> Iterator[Finding]:
    """Read everything, and yield what was wrong with it."""
    reader = _Reader(on_read)
    yield from _artifacts(store, reader)
    yield from _copies(store, reader)
    for place in store.copies.places:
        for name in place.glob(f"{BLOBS}/*/*"):
            digest = name.rpartition("/")[2]
            if reader.digest(place, name) != digest:
                store.digests.forget(store.root / name)
                place.delete(name)
                yield Finding(f"blob {digest[:SHORT]}…", "has other content than its name says", "removed")
    yield from missing(store, {alias for one in store.projects() for alias in one.aliases().values()})
    store.digests.commit()


def missing(store: Store, names: Iterable[Alias]) -> Iterator[Finding]:
    """The names whose artifact is gone."""
    for alias in sorted(names, key=lambda alias: alias.name):
        if store.open(alias.step, alias.key) is None:
            problem = f"means {alias.about}, which is gone or damaged"
            yield Finding(f"alias {alias.name}", problem, "make that again, or point it elsewhere", mended=False)


def _artifacts(store: Store, reader: "_Reader") -> Iterator[Finding]:
    """Each artifact where the store keeps it."""
    place = store.objects
    for manifest in place.glob(f"*/*/{MANIFEST}"):
        folder = manifest.removesuffix(f"/{MANIFEST}")
        artifact = _artifact(store, place, folder)
        problems = [] if artifact else [f"{MANIFEST} is damaged"]
        for file, each in artifact.all_files.items() if artifact else ():
            name, digest = place.file_name(folder, file, each["sha256"]), each["sha256"]
            if reader.digest(place, name) == digest:
                continue
            store.digests.forget(store.root / name)
            if reader.digest(store.local, blob_name(digest)) == digest:
                store.copies.restore(name, digest)
                reader.forget(place, name)
                yield Finding(f"{folder}/{file}", DAMAGED, "restored")
            else:
                problems.append(f"{file} {DAMAGED}")
        if artifact and not problems:
            record = place.file_name(folder, RECORD, artifact.all_files[RECORD]["sha256"])
            problems = _problems_of_record(artifact, place.read(record))
        if problems:
            place.set_aside(folder)
            yield Finding(folder, "; ".join(problems), "moved to .flawed; the next run makes it again")


def _copies(store: Store, reader: "_Reader") -> Iterator[Finding]:
    """The folders on this machine: of a bucket what was fetched, else those that have no manifest."""
    for path in store.artifact_folders():
        folder = f"{path.parent.name}/{path.name}"
        artifact = _artifact(store, store.local, folder)
        problems = [] if artifact else [f"{MANIFEST} is missing or damaged"]
        for file, each in artifact.all_files.items() if artifact else ():
            if reader.digest(store.local, f"{folder}/{file}") not in (each["sha256"], None):
                store.digests.forget(path / file)
                problems.append(f"{file} {DAMAGED}")
        if problems:
            store.local.set_aside(folder)
            yield Finding(folder, "; ".join(problems), "moved to .flawed; the next run fetches it or makes it again")


def _artifact(store: Store, place: Objects, folder: str) -> Artifact | None:
    """The artifact of a folder, if its manifest is intact and lies where its key belongs."""
    artifact = Artifact.from_manifest(place.read(f"{folder}/{MANIFEST}") or b"", store)
    return artifact if artifact and artifact.about == folder else None


def _problems_of_record(artifact: Artifact, content: bytes | None) -> list[str]:
    """Whether the artifact's key is the one that its record's payload gives."""
    try:
        payload: Any = orjson.loads(content or b"")["payload"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return [f"{RECORD} is damaged"]
    return [] if sha256_json(payload) == artifact.key else ["its key is not the one that its record gives"]


class _Reader:
    """Reads each content once, however many names it has."""

    def __init__(self, on_read: OnRead) -> None:
        self._on_read = on_read
        self._read: dict[tuple[str, object], str] = {}

    def digest(self, place: Objects, name: str) -> str | None:
        """The SHA-256 of what the place holds now; None if there is no such file."""
        try:
            identity = (place.url, place.identity(name))
            if identity not in self._read:
                hashed = hashlib.sha256()
                for chunk in place.chunks(name, CHUNK):
                    hashed.update(chunk)
                    self._on_read(len(chunk))
                self._read[identity] = hashed.hexdigest()
            return self._read[identity]
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def forget(self, place: Objects, name: str) -> None:
        """The file was replaced."""
        self._read.pop((place.url, place.identity(name)), None)
