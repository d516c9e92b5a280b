"""Garbage collection: what nobody needs any more goes, and for all else one can see why it stays.

An artifact stays if an alias, a promoted adapter, one of the newest runs or an artifact younger than a day reaches it,
through the inputs that the records name. Of adapters these are the champion, those that rollbacks would bring back, the
challenger and the last ones promoted, with the gate and the report that speak for them; the promotion log itself always
stays. A flow that runs meanwhile loses nothing: what it used is in its log, what it makes is young, and blobs go only
while nobody publishes (see `tasks.engine.storage.mirror.publishing`).
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from flows.promotion.history import History, same
from flows.promotion.promotion_log import Entry
from tasks.engine import progress
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import SHORT, Artifact
from tasks.engine.storage.blobs import BLOBS, blob_name
from tasks.engine.storage.objects import STAGING, remove
from tasks.engine.storage.process import Process
from tasks.engine.storage.runs import Run
from tasks.engine.storage.store import Store

DAY = 86_400.0  # seconds
KEEP_RUNS = 10
KEEP_PROMOTED = 3  # adapters: as far as one goes back in a bad week
LONGEST_RUN = 14 * DAY  # a run on another machine that says `running` for longer was killed

_Place = tuple[str, str]  # step, and the first digits of the key


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
    """What a collection found; `freed` is the bytes that went, or would go: what stays elsewhere does not count."""

    items: list[Item]
    freed: int


def collect(store: Store, *, older_than: float = DAY, keep_runs: int = KEEP_RUNS, delete: bool = False) -> Collected:
    """Find what may go, and with `delete` remove it.

    Whatever is younger than `older_than` seconds stays. `keep_runs` is how many of the newest runs count; runs that
    used the same artifacts are one, and a run that has not ended counts besides.
    """
    with lease.held(store.objects, "gc", store.lease_seconds, progress.say) if delete else nullcontext():
        busy = lease.live(store.objects)  # before the rest: who publishes later sees that we collect, and waits
        artifacts = store.all()
        needed = _needed(store, artifacts, older_than, keep_runs)
        kept = [a for a in artifacts if _place(a) in needed]
        gone = [a for a in artifacts if _place(a) not in needed and _lease(a) not in busy]
        litter = list(_litter(store, artifacts, busy, older_than))
        # Whoever publishes may count on a blob that was there; then the next collection takes them.
        blobs = [] if any(name.startswith("publish-") for name in busy) else list(_orphans(store, kept, older_than))
        if delete:
            with store.digests.carried(store.folder(a.step, a.key) / name for a in kept for name in a.all_files):
                for artifact in gone:
                    store.remove(artifact.step, artifact.key)
                for item in [*litter, *blobs]:
                    if not item.keep:
                        _remove(store, item.name)
            store.digests.commit()
    judged = [_judged(artifact, needed, busy) for artifact in artifacts]
    freed = _unshared(gone, blobs, kept) + sum(item.size for item in litter if not item.keep)
    return Collected([*judged, *litter, *blobs], freed)


def _needed(store: Store, artifacts: list[Artifact], older_than: float, keep_runs: int) -> dict[_Place, str]:
    """Where artifacts are that must stay, and why."""
    needed = _promoted(store.promotions.entries())
    for alias in store.aliases().values():
        needed.setdefault((alias.step, alias.key[:SHORT]), f"alias {alias.name}")
    for run in _runs_that_count(store.runs(), keep_runs):
        for each in run.steps.values():
            needed.setdefault((each["step"], each["key"][:SHORT]), f"run {run.name}, {_minute(run.started)}")
    for artifact in artifacts:
        if time.time() - artifact.made_ns / 1e9 < older_than:
            needed.setdefault(_place(artifact), "young")
    there = {_place(artifact): artifact for artifact in artifacts}
    todo = [place for place in needed if place in there]
    while todo:
        artifact = there[todo.pop()]
        for given in artifact.record.inputs.values():
            if given and given.step and given.key:
                place = (given.step, given.key[:SHORT])
                if place in there and place not in needed:
                    needed[place] = f"input of {artifact.about}"
                    todo.append(place)
    return needed


def _promoted(entries: list[Entry]) -> dict[_Place, str]:
    """The adapters that may be served, and whom the champion was measured against; each with its proof."""
    log = History(entries)
    kept = [(version, "promoted lately") for version in log.promoted(KEEP_PROMOTED)]
    kept += [(version, "a rollback may bring it back") for version in log.stack()[-KEEP_PROMOTED:]]
    if log.state.champion and (before := log.before_promotion(log.state.champion)):
        kept.append((before, "champion before the champion"))
    kept += [(version, name) for name, version in reversed(log.state.roles().items())]
    needed = {}
    for version, _ in kept:
        about = [entry for entry in entries if same(entry, version)]
        for proof in filter(None, (key for entry in about for key in (entry.gate, entry.report))):
            step, _, key = proof.partition("/")
            needed[step, key[:SHORT]] = f"proof of {version.about}"
    return needed | {(version.step, version.key[:SHORT]): why for version, why in kept}


def _runs_that_count(runs: list[Run], most: int) -> Iterator[Run]:
    seen: list[dict[str, dict[str, str]]] = []
    for run in runs:
        age = time.time() - datetime.fromisoformat(run.started).timestamp()
        going_on = run.status == "running" and age < LONGEST_RUN and not Process(**run.by).is_dead
        new = run.steps not in seen and len(seen) < most
        if new:
            seen.append(run.steps)
        if new or going_on:
            yield run


def _judged(artifact: Artifact, needed: dict[_Place, str], busy: dict[str, str]) -> Item:
    why = needed.get(_place(artifact)) or (f"held by {busy[_lease(artifact)]}" if _lease(artifact) in busy else None)
    size = sum(each["size"] for each in artifact.all_files.values())
    return Item("artifact", "/".join(_place(artifact)), size, why is not None, why or "no alias or recent run needs it")


def _litter(store: Store, artifacts: list[Artifact], busy: dict[str, str], older_than: float) -> Iterator[Item]:
    """What killed and failed runs left behind, and what turned out flawed."""
    there = {_place(artifact) for artifact in artifacts}
    flawed = [p for p in store.root.glob("[!.]*/*") if re.fullmatch("[0-9a-f]{16}", p.name) and _below(p) not in there]
    for kind, paths in {
        "flawed": [*flawed, *store.root.glob(".flawed/*/*")],
        "failed": [*store.root.glob(".failed/*")],
        "work": [*store.root.glob(".work/*/*")],
        "staging": [*store.root.glob(f"{STAGING}/*")],
    }.items():
        for path in paths:
            dead = kind == "staging" and _is_of_the_dead(path)
            held = busy.get(f"{path.parent.name}-{path.name}", "") if kind == "work" else ""
            young = not dead and _age(path) < older_than
            why = f"held by {held}" if held else "young" if young else "its process died" if dead else f"old {kind}"
            yield Item(kind, path.relative_to(store.root).as_posix(), _size(path), bool(held) or young, why)
    for name in sorted({path.split("/")[1] for path in store.objects.glob(f"{lease.LEASES}/*/*")} - {"gc"}):
        why = f"held by {busy[name]}" if name in busy else "its holder died"
        yield Item("lease", f"{lease.LEASES}/{name}", 0, name in busy, why)


def _orphans(store: Store, kept: list[Artifact], older_than: float) -> Iterator[Item]:
    """Blobs that no artifact needs which stays; ctime, for a blob is as old as its last link."""
    needed = {blob_name(each["sha256"]) for artifact in kept for each in artifact.all_files.values()}
    now = time.time()
    found: dict[str, tuple[int, float]] = {}
    for path in store.root.glob(f"{BLOBS}/*/*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            found[path.relative_to(store.root).as_posix()] = (stat.st_size, stat.st_ctime)
    if store.bucket:
        found |= {name: (info.size, info.modified) for name, info in store.bucket.glob(f"{BLOBS}/*/*").items()}
    for name, (size, changed) in sorted(found.items()):
        if name not in needed and now - changed >= older_than:
            yield Item("blob", name, size, False, "no artifact needs it")


def _remove(store: Store, name: str) -> None:
    """Remove what this names, in the bucket and here."""
    if store.bucket:
        for each in [name, *store.bucket.glob(f"{name}/*")] if name.startswith((BLOBS, lease.LEASES)) else []:
            store.bucket.delete(each)
    remove(store.root / name)


def _unshared(gone: list[Artifact], blobs: list[Item], kept: list[Artifact]) -> int:
    """Bytes of the files that only what goes has."""
    stays = {each["sha256"] for artifact in kept for each in artifact.all_files.values()}
    goes = {each["sha256"]: each["size"] for artifact in gone for each in artifact.all_files.values()}
    goes |= {item.name.rpartition("/")[2]: item.size for item in blobs}
    return sum(size for digest, size in goes.items() if digest not in stays)


def _place(artifact: Artifact) -> _Place:
    return artifact.step, artifact.key[:SHORT]


def _below(path: Path) -> _Place:
    return path.parent.name, path.name


def _lease(artifact: Artifact) -> str:
    return "-".join(_place(artifact))


def _is_of_the_dead(path: Path) -> bool:
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
    """Of a file, or of a folder with all in it; what vanishes meanwhile is left out."""
    for each in [path, *(Path(folder, name) for folder, _, files in os.walk(path) for name in files)]:
        with suppress(FileNotFoundError):
            yield each.lstat()


def _minute(when: str) -> str:
    return when[:16].replace("T", " ")
