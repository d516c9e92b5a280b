"""Garbage collection and fsck of a store that promotes adapters: what the promotion log keeps, and the log's own check.

An adapter stays with the gate and the report that speak for it if it is champion, previous or challenger, if a rollback
may bring it back, if it was promoted lately, or if the champion was compared with it. The log itself always stays.
"""

import time
from collections.abc import Callable, Iterator

from flows.promotion import log
from flows.promotion.candidates import ROLES, roles
from flows.promotion.log import Log, same
from tasks.engine.storage import fsck, gc
from tasks.engine.storage.artifact import folder_name
from tasks.engine.storage.references import ALIASES
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.rules import DECIDING

KEEP_PROMOTED = 3  # adapters: as far as one goes back in a bad week
FILLING = 60.0  # seconds that a writer may take between creating its entry and filling it


def collect(
    store: Store, *, older_than: float = gc.DAY, keep_runs: int = gc.KEEP_RUNS, delete: bool = False
) -> gc.Collected:
    """`gc.collect` that keeps what the promotion logs of all projects need; they are read under its lease."""

    def kept() -> dict[str, str]:
        return {about: why for one in store.projects() for about, why in roots(log.read(one)).items()}

    return gc.collect(store, kept, older_than=older_than, keep_runs=keep_runs, delete=delete)


def roots(entries: Log) -> dict[str, str]:
    """The adapters that may be served, and whom the champion was compared with; each with its gate and report."""
    kept = [(version, "promoted lately") for version in entries.promoted(KEEP_PROMOTED)]
    kept += [(version, "a rollback may bring it back") for version in entries.stack()[-KEEP_PROMOTED:]]
    if entries.state.champion and (before := entries.before_promotion(entries.state.champion)):
        kept.append((before, "champion before the champion"))
    kept += [(best, f"the best so far in {metric}") for metric in DECIDING if (best := entries.best(metric))]
    kept += [(version, name) for name, version in reversed(entries.state.roles().items())]
    needed = {}
    for version, _ in kept:
        about = [entry for entry in entries.entries if same(entry.version, version)]
        for proof in filter(None, (key for entry in about for key in (entry.gate, entry.report))):
            needed[folder_name(*proof.split("/"))] = f"proof of {version.about}"
    return needed | {version.about: why for version, why in kept}


def check(store: Store, on_read: Callable[[int], None] = lambda _: None) -> Iterator[fsck.Finding]:
    """`fsck.check`, then the projects' promotion logs, which are only checked: a lost entry cannot be guessed."""
    yield from fsck.check(store, on_read)
    for one in store.projects():
        yield from _check_log(one)


def _check_log(store: Store) -> Iterator[fsck.Finding]:
    objects = store.objects
    newest = list(log.listed(store).items())[-1:]
    for name, info in newest:  # without hard links a writer may die between creating its entry and filling it
        if not info.size and time.time() - info.modified > FILLING:
            objects.delete(name)
            yield fsck.Finding(name, "is empty", "removed: its writer died before it wrote a byte")
    problems = [(name, problem) for name, _, problem in log.check(store) if problem]
    for name, problem in problems:
        yield fsck.Finding(name, problem, "restore it from a backup: nothing is promoted until then", mended=False)
    if not problems:
        yield from fsck.missing(store, roles(store).values())
    for name in set(store.aliases()) & set(ROLES):
        done = f"`reground promote` what it named, and delete {ALIASES}/{name}.json"
        yield fsck.Finding(f"alias {name}", "is older than the promotion log and names nothing", done, mended=False)
