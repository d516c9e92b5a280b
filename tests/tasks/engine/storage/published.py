"""Artifacts of a few bytes in a store, and ways to damage them."""

import os
from dataclasses import replace
from pathlib import Path

from tasks.engine.inputs import sha256_json
from tasks.engine.storage.lease import LEASES, Lease
from tasks.engine.storage.process import Process
from tasks.engine.storage.store import MANIFEST, Artifact, Store

FILES = {"model/weights.bin": b"w" * 5000, "model/config.json": b"{}", "report.md": b"## fine", "empty.txt": b""}


def key_of(number: int = 1) -> str:
    return sha256_json({"step": "toy", "number": number})


def publish(store: Store, number: int = 1, files: dict[str, bytes] = FILES, step: str = "toy", **record) -> Artifact:
    with store.blobs.staging() as out:
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        told = {"step": step, "label": step, "key": key_of(number), "payload": {"step": "toy", "number": number}}
        return store.publish(step, key_of(number), out, {**told, "inputs": {}, **record})


def elsewhere(store: Store, tmp_path: Path) -> Store:
    """The same store as another machine sees it: with nothing fetched yet."""
    return Store(store.url, cache=tmp_path / "elsewhere", lease_seconds=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else b"x"


HARMS = {"flip": flip, "truncate": lambda content: content[:-1] if content else b"x", "delete": lambda _: None}
EVERY = [*FILES, "record.json", MANIFEST]
# One of each kind of harm and of file, where each costs many requests: (harm, name).
SOME = [
    ("flip", "model/weights.bin"),
    ("truncate", "record.json"),
    ("flip", MANIFEST),
    ("delete", MANIFEST),
    ("delete", "report.md"),
]


def harm_file(path: Path, harm) -> None:
    """Change a file in place, its size kept or not, and put its mtime back as a careless copy would."""
    before, content = path.stat(), harm(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def harm_object(store: Store, name: str, harm) -> None:
    content = harm(store.objects.read(name))
    if content is None:
        store.objects.delete(name)
    else:
        store.objects.write(name, content)


TERM = 2.0  # seconds


def leave_behind(store: Store, name: str, monkeypatch) -> None:
    """A lease of a process on another machine that died."""
    foreign = replace(Process.this(), place="another-host", host="far")
    monkeypatch.setattr(Process, "this", classmethod(lambda _: foreign))
    assert store.objects.create(f"{LEASES}/{name}/1", Lease(store.objects, name, 1, TERM).content())
    monkeypatch.undo()
