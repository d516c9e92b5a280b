"""The promotion log of a project: `projects/tiny/promotions/00000001.json` and so on, an entry each, never changed.

An entry holds what happened and the whole state after it. Creating it is the only write of a promotion, so a process
that is killed leaves the state before it or the state after it. Each entry names the digest of the entry before it: a
missing, damaged or foreign entry is noticed, and a damaged log is refused, never repaired by guessing.

A store that is older than projects has one log, `promotions/` at its top. It is the beginning of the log of the project
whose runs made its adapters; `flows.promotion.projects` moves it there, and parts it where it is several projects'.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import orjson

from flows.settings import slug
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.storage.artifact import SHORT
from tasks.engine.storage.objects import Info, Objects
from tasks.engine.storage.references import Run, read_runs
from tasks.engine.storage.store import Store

FOLDER = "promotions"
DAMAGED = "has other content than was written"

Action = Literal["challenge", "promote", "refuse", "rollback"]


@dataclass(frozen=True)
class Version:
    """An adapter in the log: its `export` artifact, the SHA-256 of its weights, and the entry that gave it its role."""

    adapter: str  # export/<full key>
    weights: str
    since: int

    @property
    def step(self) -> str:
        return self.adapter.partition("/")[0]

    @property
    def key(self) -> str:
        return self.adapter.partition("/")[2]

    @property
    def about(self) -> str:
        return f"{self.step}/{self.key[:SHORT]}"


@dataclass(frozen=True)
class State:
    """The adapter in service, the one that a rollback would bring back, and the one that waits for a decision."""

    champion: Version | None = None
    previous: Version | None = None
    challenger: Version | None = None

    def roles(self) -> dict[str, Version]:
        named = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {name: version for name, version in named.items() if version}


@dataclass(frozen=True)
class Entry:
    """One entry. `adapter` is the one that the action is about: for a rollback the one taken out of service.

    `decision` and `verdicts` are the gate's, the verdicts shortened to what a person needs; `gate` and `report` are
    "step/key". `by` holds user, host and pid, `flow_run` (its id) if Prefect ran it, and `approver` if someone was
    asked.
    """

    number: int
    action: Action
    adapter: str
    weights: str
    at: str  # ISO 8601, UTC
    by: Mapping[str, Any]
    why: str
    by_hand: bool  # a person decided instead of the gate
    decision: str | None
    verdicts: list[dict[str, Any]]
    gate: str | None
    report: str | None
    state: State
    before: str  # digest of the entry before; empty for the first

    @property
    def version(self) -> Version:
        return Version(self.adapter, self.weights, self.number)

    @property
    def about(self) -> str:
        return self.version.about

    @property
    def minute(self) -> str:
        """`2026-11-24 15:30`, UTC."""
        return self.at[:16].replace("T", " ")

    @property
    def who(self) -> str:
        """The approver, else `anna@host`; the entry has the process and the flow run besides."""
        return self.by["approver"] or f"{self.by['user']}@{self.by['host']}"

    @property
    def digest(self) -> str:
        return sha256_json(asdict(self))

    def content(self) -> bytes:
        return orjson.dumps({**asdict(self), "digest": self.digest}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_content(cls, content: bytes) -> "Entry | None":
        """The entry; None if a single byte differs from what was written."""
        try:
            fields = orjson.loads(content)
            del fields["digest"]
            roles = {name: role and Version(**role) for name, role in fields.pop("state").items()}
            entry = cls(**fields, state=State(**roles))
            return entry if entry.content() == content else None
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return None


def same(one: Version, other: Version) -> bool:
    """Whether they are the same adapter: the same key, or the same weights made again under another key."""
    return one.adapter == other.adapter or one.weights == other.weights


class Log:
    """The entries as they were read, oldest first. Reads and writes nothing itself."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.state = entries[-1].state if entries else State()

    @property
    def next_number(self) -> int:
        return len(self.entries) + 1

    def is_champion(self, adapter: Version) -> bool:
        return bool(self.state.champion and same(self.state.champion, adapter))

    def champion_entry(self) -> Entry:
        """The entry that put the champion into service."""
        assert self.state.champion
        return self.entries[self.state.champion.since - 1]

    def last(self, adapter: Version, *actions: str) -> Entry | None:
        """The newest entry about the adapter; with `actions`, the newest of these."""
        about = (e for e in reversed(self.entries) if same(e.version, adapter) and (not actions or e.action in actions))
        return next(about, None)

    def last_with_gate(self, adapter: Version) -> Entry | None:
        """The newest entry about the adapter that holds a gate's decision."""
        return next((e for e in reversed(self.entries) if same(e.version, adapter) and e.decision), None)

    def last_change(self) -> Entry | None:
        """The newest entry that changed the champion."""
        return next((e for e in reversed(self.entries) if e.action in ("promote", "rollback")), None)

    def rolled_back(self, adapter: Version) -> Entry | None:
        """The entry that took the adapter out of service, unless it was promoted again since."""
        entry = self.last(adapter, "promote", "rollback")
        return entry if entry and entry.action == "rollback" else None

    def refused_by_hand(self, adapter: Version) -> Entry | None:
        """The newest entry by which a person refused the adapter, unless it was promoted since."""
        about = (e for e in reversed(self.entries) if same(e.version, adapter))
        entry = next((e for e in about if e.action == "promote" or (e.action == "refuse" and e.by_hand)), None)
        return entry if entry and entry.action == "refuse" else None

    def before_promotion(self, champion: Version) -> Version | None:
        """Who was champion when this one was promoted."""
        entry = self.last(champion, "promote")
        return self.entries[entry.number - 2].state.champion if entry and entry.number > 1 else None

    def promoted(self, most: int) -> list[Version]:
        """The adapters that were promoted last, newest first, each once."""
        found: list[Version] = []
        for entry in reversed(self.entries):
            if entry.action == "promote" and not any(same(entry.version, each) for each in found):
                found.append(entry.version)
        return found[:most]

    def stack(self) -> list[Version]:
        """The adapters that are or were champion, oldest first, without those that were rolled back."""
        stack: list[Version] = []
        for entry in self.entries:
            if entry.action in ("promote", "rollback"):
                stack = _without(stack, entry.version)
            if entry.action == "promote":
                stack.append(entry.version)
        return stack

    def best(self, metric: str) -> Version | None:
        """The best champion so far in a metric of which more is better, of those that were not rolled back.

        The newest one that was shown to beat the best before it: a gain beyond chance, by the verdicts on record. One
        that a person promoted against the gate counts as well: that is where the person wants to start from. So no
        row of small losses, none of them shown, ever moves what the next adapter is compared with.
        """
        best: Version | None = None
        for version in self.stack():
            entry = self.entries[version.since - 1]
            before = self.entries[entry.number - 2].state.champion if entry.number > 1 else None
            rival = "best" if best and before and not same(best, before) else "champion"
            lows = [v["low"] for v in entry.verdicts if (v["metric"], v["against"]) == (metric, rival)]
            if best is None or entry.by_hand or any(low is not None and low > 0 for low in lows):
                best = version
        return best

    # The state that an entry of the next number would leave

    def after_promotion(self, adapter: Version) -> State:
        return self._top_of([*_without(self.stack(), adapter), adapter])

    def after_rollback(self, champion: Version) -> State:
        return self._top_of(_without(self.stack(), champion))

    def after_challenge(self, adapter: Version) -> State:
        return replace(self.state, challenger=replace(adapter, since=self.next_number))

    def after_refusal(self, adapter: Version) -> State:
        waits = self.state.challenger
        return replace(self.state, challenger=None) if waits and same(waits, adapter) else self.state

    def _top_of(self, stack: list[Version]) -> State:
        """The top two of the stack, in their roles from the next entry on. The challenger challenged the old champion,
        so it waits no longer."""
        now = [replace(each, since=self.next_number) for each in reversed(stack)]
        return State(champion=now[0] if now else None, previous=now[1] if len(now) > 1 else None)


def _without(stack: list[Version], adapter: Version) -> list[Version]:
    return [each for each in stack if not same(each, adapter)]


def read(store: Store) -> Log:
    """Every entry of the store's project. UserError if the log is damaged."""
    entries: list[Entry] = []
    for name, entry, problem in check(store):
        if problem or entry is None:
            raise _refused(f"{name} {problem}")
        entries.append(entry)
    return Log(entries)


def check(store: Store) -> Iterator[tuple[str, Entry | None, str | None]]:
    """Each entry's name, the entry, and what is wrong with it. Entries cut off at the end cannot be noticed."""
    names = {_number(name): name for name in listed(store)}
    contents = dict(zip(names, store.objects.read_all(names.values()), strict=True))
    before: Entry | None = None
    for number in range(1, max(names, default=0) + 1):
        found = Entry.from_content(contents.get(number) or b"")
        problem = None
        if number not in names:
            problem = "is missing"
        elif not found or found.number != number:
            problem = DAMAGED
        elif (before or number == 1) and found.before != (before.digest if before else ""):
            problem = "does not follow from the entry before it"
        yield names.get(number) or name_of(store, number), found, problem
        before = found


def read_state(store: Store) -> State:
    """The state after the newest entry, the only one that is read. UserError if an entry before it is missing."""
    names = list(listed(store))
    for number, name in enumerate(names, 1):
        if _number(name) != number:
            raise _refused(f"{name_of(store, number)} is missing")
    return _entry(store, names[-1]).state if names else State()


def read_entry(store: Store, number: int) -> Entry:
    """UserError if it is missing or damaged."""
    return _entry(store, next((name for name in listed(store) if _number(name) == number), name_of(store, number)))


def _entry(store: Store, name: str) -> Entry:
    found = Entry.from_content(store.objects.read(name) or b"")
    if not found or found.number != _number(name):
        raise _refused(f"{name} {DAMAGED}")
    return found


def name_of(store: Store, number: int) -> str:
    """Where an entry is written."""
    return f"{store.home}{FOLDER}/{number:08}.json"


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].removesuffix(".json"))


def listed(store: Store) -> dict[str, Info]:
    """The entries that are there, in order."""
    own = in_folder(store.objects, store.home)
    if not store.project or name_of(store, 1) in own:
        return own
    old = in_folder(store.objects, "")
    projects = {project for _, project in of_old(store.objects)} - {""} if old else set()
    if len(projects) > 1:
        raise UserError(
            f"{store.url} has one promotion log of several projects: {', '.join(sorted(projects))}",
            "`reground projects --migrate` shows how it would be parted, a log for each",
        )
    return own if projects - {store.project} else old | own


def in_folder(objects: Objects, home: str) -> dict[str, Info]:
    found = objects.glob(f"{home}{FOLDER}/*.json")
    return {name: info for name, info in found.items() if re.fullmatch(r"\d{8}\.json", name.rpartition("/")[2])}


@lru_cache(maxsize=8)
def of_old(objects: Objects) -> list[tuple[Entry, str]]:
    """The entries of a log that is older than projects, each with its project: that of the run which had the adapter.

    Empty if no log of a run tells. An entry that is damaged is left out.
    """
    names = list(in_folder(objects, ""))
    entries = [entry for content in objects.read_all(names) if (entry := Entry.from_content(content or b""))]
    runs = [(run, run.steps["export"]) for run in read_runs(objects) if "export" in run.steps]
    found = []
    for entry in entries:
        made = [run for run, adapter in runs if f"{adapter['step']}/{adapter['key']}" == entry.adapter]
        run = next((run for run in made if run.started <= entry.at), made[0] if made else None)
        found.append((entry, project_of(run) if run else ""))
    return found


def project_of(run: Run) -> str:
    """The project of a run that is logged at the top of a store, by its config's name."""
    return slug(run.name.removesuffix(" sweep"))


def _refused(problem: str) -> UserError:
    return UserError(
        f"the promotion log is damaged: {problem}",
        "restore that file from a backup of the store; `reground fsck` lists every problem",
    )
