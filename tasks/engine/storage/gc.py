"""Garbage collection: removes what nothing needs any more, and says of everything else why it stays.

An artifact stays if a root, an alias, one of the newest runs or an artifact younger than a day reaches it through the
inputs that the records name. A flow that runs meanwhile loses nothing: what it used is in its log, what it makes is
young, and blobs are removed only while nobody publishes (see `tasks.engine.storage.copies.publishing`).
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from tasks.engine import progress
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import Artifact, folder_name
from tasks.engine.storage.blobs import blob_name
from tasks.engine.storage.objects import BLOBS, STAGING, remove
from tasks.engine.storage.process import Process
from tasks.engine.storage.references import Run
from tasks.engine.storage.store import Store

DAY = 86_400.0  # seconds
KEEP_RUNS = 10
LONGEST_RUN = 14 * DAY  # a run on another machine that says `running` for longer was killed

Roots = Callable[[], Mapping[str, str]]  # "train/3f2a9c01b7e4d582" → why it stays


@dataclass(frozen=True)
class Item:
    """One thing in the store, and why it stays or goes. `size` is in bytes."""

    kind: str  # artifact, blob, work, failed, flawed, staging or lease
    name: str  # below the store's URL, or below its folder on this machine
    size: int
    keep: bool
    why: str


@dataclass(frozen=True)
class Collected:
    """What a collection found; `freed` counts the bytes that go, without those that something kept shares."""

    items: list[Item]
    freed: int


def collect(
    store: Store, roots: Roots, *, older_than: float = DAY, keep_runs: int = KEEP_RUNS, delete: bool = False
) -> Collected:
    """Find what may go, and with `delete` remove it.

    `roots` gives what must stay besides, and why; it is called while no other collection runs. Whatever is younger than
    `older_than` seconds stays. `keep_runs` is how many of a project's newest runs count; runs that used the same
    artifacts are one, and a run that has not ended counts in addition.
    """
    with lease.held(store.objects, "gc", store.lease_seconds, progress.say) if delete else nullcontext():
        busy = lease.live(store.objects)  # first of all: whoever publishes later sees that we collect, and waits
        artifacts = store.all()
        needed = _needed(store, artifacts, dict(roots()), older_than, keep_runs)
        kept = [a for a in artifacts if a.about in needed]
        gone = [a for a in artifacts if a.about not in needed and _lease(a) not in busy]
        litter = list(_litter(store, artifacts, busy, older_than))
        # A publisher may count on a blob that was there; then the next collection takes it.
        blobs = [] if any(name.startswith("publish-") for name in busy) else list(_orphans(store, kept, older_than))
        if delete:
            with store.digests.carried(store.folder(a.step, a.key) / name for a in kept for name in a.all_files):
                for artifact in gone:
                    store.remove(artifact.step, artifact.key)
                for item in [*litter, *blobs]:
                    if not item.keep:
                        _remove(store, item)
            store.digests.commit()
    freed = _unshared(gone, blobs, kept) + sum(item.size for item in litter if not item.keep)
    return Collected([*(_item(artifact, needed, busy) for artifact in artifacts), *litter, *blobs], freed)


def _needed(
    store: Store, artifacts: list[Artifact], needed: dict[str, str], older_than: float, keep_runs: int
) -> dict[str, str]:
    """The artifacts that must stay, and why."""
    for one in store.projects():
        for alias in one.aliases().values():
            needed.setdefault(alias.about, f"alias {alias.name}")
        for run in _runs_that_count(one.runs(), keep_runs):
            for each in run.steps.values():
                minute = run.started[:16].replace("T", " ")
                needed.setdefault(folder_name(each["step"], each["key"]), f"run {run.name}, {minute}")
    for artifact in artifacts:
        if time.time() - artifact.made_ns / 1e9 < older_than:
            needed.setdefault(artifact.about, "young")
    there = {artifact.about: artifact for artifact in artifacts}
    todo = [about for about in needed if about in there]
    while todo:
        artifact = there[todo.pop()]
        for origin in artifact.record.inputs.values():
            if origin and origin.step and origin.key:
                about = folder_name(origin.step, origin.key)
                if about in there and about not in needed:
                    needed[about] = f"input of {artifact.about}"
                    todo.append(about)
    return needed


def _runs_that_count(runs: list[Run], most: int) -> Iterator[Run]:
    """The newest runs that used different artifacts, and every run that has not ended."""
    seen: list[dict[str, dict[str, str]]] = []
    for run in runs:
        age = time.time() - datetime.fromisoformat(run.started).timestamp()
        unfinished = run.status == "running" and age < LONGEST_RUN and not Process(**run.by).is_dead
        new = run.steps not in seen and len(seen) < most
        if new:
            seen.append(run.steps)
        if new or unfinished:
            yield run


def _item(artifact: Artifact, needed: dict[str, str], busy: dict[str, str]) -> Item:
    why = needed.get(artifact.about) or (f"held by {busy[_lease(artifact)]}" if _lease(artifact) in busy else None)
    size = sum(each["size"] for each in artifact.all_files.values())
    return Item("artifact", artifact.about, size, why is not None, why or "no alias or recent run needs it")


def _litter(store: Store, artifacts: list[Artifact], busy: dict[str, str], older_than: float) -> Iterator[Item]:
    """What killed and failed runs left behind, and what turned out damaged."""
    there = {artifact.about for artifact in artifacts}
    damaged = [path for path in store.artifact_folders() if f"{path.parent.name}/{path.name}" not in there]
    for kind, paths in {
        "flawed": [*damaged, *store.root.glob(".flawed/*/*")],
        "failed": [*store.root.glob(".failed/*")],
        "work": [*store.root.glob(".work/*/*")],
        "staging": [*store.root.glob(f"{STAGING}/*")],
    }.items():
        for path in paths:
            dead = kind == "staging" and _owner_died(path)
            held = busy.get(f"{path.parent.name}-{path.name}", "") if kind == "work" else ""
            young = not dead and _age(path) < older_than
            why = f"held by {held}" if held else "young" if young else "its process died" if dead else f"old {kind}"
            yield Item(kind, path.relative_to(store.root).as_posix(), _size(path), bool(held) or young, why)
    for name in sorted({path.split("/")[1] for path in store.objects.glob(f"{lease.LEASES}/*/*")} - {"gc"}):
        why = f"held by {busy[name]}" if name in busy else "its holder died"
        yield Item("lease", f"{lease.LEASES}/{name}", 0, name in busy, why)


def _orphans(store: Store, kept: list[Artifact], older_than: float) -> Iterator[Item]:
    """Blobs that no artifact needs which stays; a blob is as old as its last link."""
    needed = {blob_name(each["sha256"]) for artifact in kept for each in artifact.all_files.values()}
    now = time.time()
    found = {name: info for place in store.copies.places for name, info in place.glob(f"{BLOBS}/*/*").items()}
    for name, info in sorted(found.items()):
        if name not in needed and now - info.modified >= older_than:
            yield Item("blob", name, info.size, False, "no artifact needs it")


def _remove(store: Store, item: Item) -> None:
    """Remove it on this machine, and a blob or lease wherever it is."""
    for place in store.copies.places if item.kind in ("blob", "lease") else ():
        for name in [item.name] if item.kind == "blob" else place.glob(f"{item.name}/*"):
            place.delete(name)
    remove(store.root / item.name)


def _unshared(gone: list[Artifact], blobs: list[Item], kept: list[Artifact]) -> int:
    """Bytes of the files that nothing kept shares."""
    stays = {each["sha256"] for artifact in kept for each in artifact.all_files.values()}
    goes = {each["sha256"]: each["size"] for artifact in gone for each in artifact.all_files.values()}
    goes |= {item.name.rpartition("/")[2]: item.size for item in blobs}
    return sum(size for digest, size in goes.items() if digest not in stays)


def _lease(artifact: Artifact) -> str:
    return artifact.about.replace("/", "-")


def _owner_died(path: Path) -> bool:
    try:
        return Process.from_tag(path.name).is_dead
    except ValueError:
        return False


def _age(path: Path) -> float:
    """Seconds since anything in it changed."""
    return time.time() - max((stat.st_mtime for stat in _stats(path)), default=0.0)


def _size(path: Path) -> int:
    return sum(stat.st_size for stat in _stats(path) if S_ISREG(stat.st_mode))


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or of a folder with everything in it, without what vanishes meanwhile."""
    for each in [path, *(Path(folder, name) for folder, _, files in os.walk(path) for name in files)]:
        with suppress(FileNotFoundError):
            yield each.lstat()
