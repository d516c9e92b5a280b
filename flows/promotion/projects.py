"""The projects of a store: what each has in service, and how a store that is older than projects becomes theirs.

Such a store has `promotions`, `aliases` and `runs` at its top. A run is of the project that its config's name gives, an
entry of the promotion log of that whose run had the adapter, an alias of all whose runs used its artifact. A log of
several projects is parted: each gets its own entries in their order, with the state after each anew.
"""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import orjson
from pydantic import BaseModel, ConfigDict

from flows.promotion import log as promotion_log
from flows.promotion.log import FOLDER, Entry, Log, project_of
from tasks.engine import progress
from tasks.engine.errors import UserError
from tasks.engine.storage import lease
from tasks.engine.storage.objects import Objects
from tasks.engine.storage.references import ALIASES, RUNS, home, read_aliases, read_runs
from tasks.engine.storage.store import Store

KEPT = ".migrated"  # what a migration took away, and `wrote.json`: the SHA-256 of what it wrote, by name


class Project(BaseModel):
    """A project of a store: the adapters in service and waiting, since when (ISO 8601, UTC), and its runs."""

    model_config = ConfigDict(frozen=True)

    project: str
    champion: str | None
    since: str | None
    challenger: str | None
    runs: int
    last_run: str | None


def projects(store: Store) -> list[Project]:
    """By name. UserError if a promotion log is damaged, or is several projects' (see `migration`)."""
    old = read_runs(store.objects)
    names = {one.project for one in store.projects()} | {project_of(run) for run in old}
    return [
        _project(store.of(name), {run.id for run in old if project_of(run) != name}) for name in sorted(names - {""})
    ]


def _project(store: Store, others: set[str]) -> Project:
    champion, challenger = (promotion_log.read_state(store).roles().get(role) for role in ("champion", "challenger"))
    runs = [run for run in store.runs() if run.id not in others]
    return Project(
        project=store.project,
        champion=champion.about if champion else None,
        since=promotion_log.read_entry(store, champion.since).at if champion else None,
        challenger=challenger.about if challenger else None,
        runs=len(runs),
        last_run=runs[0].started if runs else None,
    )


def migration(store: Store) -> dict[str, tuple[str, ...]]:
    """What a migration of a store that is older than projects would write, and from what; empty if there is nothing.

    What no run tells of is the project's of `store`. UserError if the log is damaged.
    """
    return {target: sources for target, sources, _ in _moves(store)}


def migrate(store: Store) -> None:
    """Do it, so that a kill at any moment leaves the store readable: write all, keep what was, then take that away."""
    with lease.held(store.objects, "gc", store.lease_seconds, progress.say):
        objects, moves = store.objects, list(_moves(store))
        wrote = {target: sha256(content).hexdigest() for target, _, content in moves}
        for target, _, content in moves:
            objects.create(target, content, durable=True)
        objects.write(f"{KEPT}/wrote.json", orjson.dumps(wrote))
        for source in {source for _, sources, _ in moves for source in sources}:
            objects.write(f"{KEPT}/{source}", objects.read(source) or b"")
        for source in {source for _, sources, _ in moves for source in sources}:
            objects.delete(source)
    promotion_log.of_old.cache_clear()


def undo(store: Store) -> int:
    """Take a migration back; returns the number of objects that are at the top again.

    UserError if there was none, or if something was promoted since: that would be lost.
    """
    objects = store.objects
    wrote: dict[str, str] = orjson.loads(objects.read(f"{KEPT}/wrote.json") or b"{}")
    kept = [name for folder in (FOLDER, ALIASES, RUNS) for name in objects.glob(f"{KEPT}/{folder}/*.json")]
    if not wrote:
        raise UserError(f"{store.url}: there is no migration to take back", "see `reground projects`")
    for one in store.projects():
        if one.project and (later := set(promotion_log.in_folder(objects, one.home)) - set(wrote)):
            raise UserError(
                f"{one.project} has {len(later)} entries in its promotion log that are newer than the migration",
                "taken back, they would be lost; a rollback undoes a promotion",
            )
    for name in kept:
        objects.write(name.removeprefix(f"{KEPT}/"), objects.read(name) or b"")
    for name, digest in wrote.items():
        if sha256(objects.read(name) or b"").hexdigest() == digest:
            objects.delete(name)
    for name in [*kept, f"{KEPT}/wrote.json"]:
        objects.delete(name)
    promotion_log.of_old.cache_clear()
    return len(kept)


def _moves(store: Store) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """Where to, from what, and the content."""
    objects = store.objects
    used: dict[tuple[str, str], set[str]] = {}
    for run in read_runs(objects):
        source, project = f"{RUNS}/{run.id}", project_of(run)
        yield f"{home(project)}{source}", (source,), objects.read(source) or b""
        for each in run.steps.values():
            used.setdefault((each["step"], each["key"]), set()).add(project)
    for alias in read_aliases(objects).values():
        source = f"{ALIASES}/{alias.name}.json"
        for project in sorted(used.get((alias.step, alias.key), {store.project})):
            yield f"{home(project)}{source}", (source,), objects.read(source) or b""
    yield from _parted(objects, store)


def _parted(objects: Objects, store: Store) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    old = promotion_log.read(store.of("")).entries  # checked
    owner = ""
    parts: dict[str, list[Entry]] = {}
    for entry, project in promotion_log.of_old(objects):
        owner = project or owner or store.project
        parts.setdefault(owner, []).append(entry)
    for project, entries in parts.items():
        for entry, new in zip(entries, _renumbered(entries) if len(parts) > 1 else old, strict=True):
            source = promotion_log.name_of(store.of(""), entry.number)
            yield promotion_log.name_of(store.of(project), new.number), (source,), new.content()


def _renumbered(entries: list[Entry]) -> list[Entry]:
    """The entries as a log of their own."""
    log = Log([])
    for entry in entries:
        after = {
            "promote": log.after_promotion,
            "rollback": log.after_rollback,
            "challenge": log.after_challenge,
            "refuse": log.after_refusal,
        }
        before = log.entries[-1].digest if log.entries else ""
        new = replace(entry, number=log.next_number, state=after[entry.action](entry.version), before=before)
        log = Log([*log.entries, new])
    return list(log.entries)
