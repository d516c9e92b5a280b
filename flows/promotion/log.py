"""The promotion log: `promotions/00000001.json` and so on, one entry each, written once and never changed.

An entry holds what happened and the whole state after it. Creating it is the only write of a promotion, so a process
that is killed leaves the state before it or the state after it. Each entry names the digest of the entry before it: a
missing, damaged or foreign entry is noticed, and a damaged log is refused, never repaired by guessing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import orjson

from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.storage.artifact import SHORT
from tasks.engine.storage.objects import Info, Objects

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


def read(objects: Objects) -> Log:
    """Every entry. UserError if the log is damaged."""
    entries: list[Entry] = []
    for name, entry, problem in check(objects):
        if problem or entry is None:
            raise _refused(f"{name} {problem}")
        entries.append(entry)
    return Log(entries)


def check(objects: Objects) -> Iterator[tuple[str, Entry | None, str | None]]:
    """Each entry's name, the entry, and what is wrong with it. Entries cut off at the end cannot be noticed."""
    names = list(listed(objects))
    contents = dict(zip(names, objects.read_all(names), strict=True))
    last = int(names[-1].removeprefix(f"{FOLDER}/").removesuffix(".json")) if names else 0
    before: Entry | None = None
    for number in range(1, last + 1):
        name = name_of(number)
        found = Entry.from_content(contents.get(name) or b"")
        problem = None
        if name not in contents:
            problem = "is missing"
        elif not found or found.number != number:
            problem = DAMAGED
        elif (before or number == 1) and found.before != (before.digest if before else ""):
            problem = "does not follow from the entry before it"
        yield name, found, problem
        before = found


def read_state(objects: Objects) -> State:
    """The state after the newest entry, the only one that is read. UserError if an entry before it is missing."""
    names = list(listed(objects))
    for number, name in enumerate(names, 1):
        if name != name_of(number):
            raise _refused(f"{name_of(number)} is missing")
    return read_entry(objects, len(names)).state if names else State()


def read_entry(objects: Objects, number: int) -> Entry:
    """UserError if it is missing or damaged."""
    name = name_of(number)
    found = Entry.from_content(objects.read(name) or b"")
    if not found or found.number != number:
        raise _refused(f"{name} {DAMAGED}")
    return found


def name_of(number: int) -> str:
    return f"{FOLDER}/{number:08}.json"


def listed(objects: Objects) -> dict[str, Info]:
    """The entries that are there, in order."""
    found = objects.glob(f"{FOLDER}/*.json")
    return {name: info for name, info in found.items() if re.fullmatch(FOLDER + r"/\d{8}\.json", name)}


def _refused(problem: str) -> UserError:
    return UserError(
        f"the promotion log is damaged: {problem}",
        "restore that file from a backup of the store; `reground fsck` lists every problem",
    )
