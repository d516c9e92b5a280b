"""The store: whether artifacts can be written there, and whether two runs there could agree who computes what."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, note, ok
from flows.doctor.machine import existing
from tasks.engine.storage.objects import require_exclusive_create
from tasks.engine.storage.store import Store


def check(config: Retrain) -> Iterator[Finding]:
    if "://" in config.store:
        store = config.open_store()
        require_exclusive_create(store.objects)  # writes, reads and deletes a small object
        yield ok("store", f"{store.url}: writable, with conditional writes")
        return
    folder = Path(config.store).expanduser()
    there = existing(folder)
    if there != folder.absolute():
        yield _to_be_made(folder.absolute(), there)
        return
    store = config.open_store()
    try:
        yield _written(store)
    except OSError as error:
        yield bad("store", f"{folder} is not writable: {error.strerror}", "let this user write there, or name another")


def _to_be_made(folder: Path, there: Path) -> Finding:
    first = there / folder.relative_to(there).parts[0]
    if first.exists():
        return bad("store", f"{first} is no folder", "name another")
    if os.access(there, os.W_OK | os.X_OK):
        return ok("store", f"{folder} is not there yet, and can be made")
    return bad("store", f"{folder} is not there, and this user may not make it in {there}", "make it, or name another")


def _written(store: Store) -> Finding:
    """Make an object twice, of which the second must fail, and take it away."""
    name = f".leases/.probe-{secrets.token_hex(8)}"
    try:
        if not store.objects.create(name, b"first") or store.objects.create(name, b"second"):
            remedy = "use a local disk, NFS 4, or a bucket"
            return bad("store", f"{store.url} makes a file that is there already: runs cannot agree", remedy)
        if (store.root / name).stat().st_nlink != 1 or not _links(store.root / name):
            return note("store", f"{store.url}: writable, without hard links", "files that artifacts share stand twice")
        return ok("store", f"{store.url}: writable")
    finally:
        store.objects.delete(name)


def _links(path: Path) -> bool:
    twin = path.with_name(f"{path.name}-twin")
    try:
        os.link(path, twin)
    except OSError:
        return False
    twin.unlink()
    return True
