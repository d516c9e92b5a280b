"""The promotion log: `promotions/00000001.json` and so on, one entry each, made once and never changed.

An entry says what happened, and the whole state after it. Making it is the one write of a promotion, so whoever is
killed leaves the state before it or the one after. Each names the digest of the entry before it: one that is missing,
harmed or from another log cannot pass unseen, and a log that is not whole is refused, never guessed around.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.storage.artifact import SHORT
from tasks.engine.storage.objects import Info, Objects

PROMOTIONS = "promotions"
FILLING = 60.0  # seconds that a writer may take between making its entry and filling it
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
    """Which adapter is in service, which one a rollback would bring back, and which one waits for a decision."""

    champion: Version | None = None
    previous: Version | None = None
    challenger: Version | None = None

    def roles(self) -> dict[str, Version]:
        """Those there are, by name."""
        named = {"champion": self.champion, "previous": self.previous, "challenger": self.challenger}
        return {name: version for name, version in named.items() if version}


@dataclass(frozen=True)
class Entry:
    """One line of the log. `adapter` is the one that the action is about: for a rollback the one taken out of service.

    `decision` and `verdicts` are the gate's, shortened to what a person needs; `gate` and `report` are "step/key".
    `by` holds user, host and pid, `flow_run` (its id) if Prefect ran it, and `approver` if a person was asked.
    """

    number: int
    action: Action
    adapter: str
    weights: str
    at: str  # ISO 8601, UTC
    by: Mapping[str, Any]
    why: str
    by_hand: bool  # a person's word stood in for the gate's
    decision: str | None
    verdicts: list[dict[str, Any]]
    gate: str | None
    report: str | None
    state: State
    before: str  # the digest of the entry before it; of the first one empty

    @property
    def about(self) -> str:
        step, _, key = self.adapter.partition("/")
        return f"{step}/{key[:SHORT]}"

    @property
    def day(self) -> str:
        """`2026-11-24 15:30`, UTC."""
        return self.at[:16].replace("T", " ")

    @property
    def who(self) -> str:
        """Who approved it, else `anna@host`; the log has the process and the flow run besides."""
        return self.by["approver"] or f"{self.by['user']}@{self.by['host']}"

    @property
    def digest(self) -> str:
        return sha256_json(asdict(self))

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def content(self) -> bytes:
        return orjson.dumps({**asdict(self), "digest": self.digest}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_content(cls, content: bytes) -> "Entry | None":
        """The entry; None if a single byte of it is not as it was written."""
        try:
            told = orjson.loads(content)
            del told["digest"]
            roles = {name: role and Version(**role) for name, role in told.pop("state").items()}
            entry = cls(**told, state=State(**roles))
            return entry if entry.content() == content else None
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return None


def read(objects: Objects) -> list[Entry]:
    """Every entry, oldest first. UserError if the log is not whole."""
    names = _names(objects)
    entries: list[Entry] = []
    for name, content in zip(names, objects.read_all(names), strict=True):
        found = Entry.from_content(content or b"")
        if not found or name_of(found.number) != name or found.before != (entries[-1].digest if entries else ""):
            raise _refused(f"{name} {DAMAGED}")
        entries.append(found)
    return entries


def state(objects: Objects) -> State:
    """The state after the newest entry, which is the only one that is read. UserError if there is a gap before it."""
    names = _names(objects)
    return entry(objects, len(names)).state if names else State()


def entry(objects: Objects, number: int) -> Entry:
    """The entry of this number. UserError if it is gone or damaged."""
    name = name_of(number)
    found = Entry.from_content(objects.read(name) or b"")
    if not found or found.number != number:
        raise _refused(f"{name} {DAMAGED}")
    return found


def flaws(objects: Objects) -> Iterator[tuple[str, str]]:
    """Each thing that is wrong with the log: the entry's name, and what. What is cut off at its end cannot be seen."""
    names = list(_listed(objects))
    contents = dict(zip(names, objects.read_all(names), strict=True))
    before: Entry | None = None
    for number in range(1, number_of(names[-1]) + 1 if names else 1):
        name = name_of(number)
        found = Entry.from_content(contents.get(name) or b"")
        if name not in contents:
            yield name, "is missing"
        elif not found or found.number != number:
            yield name, DAMAGED
        elif (before or number == 1) and found.before != (before.digest if before else ""):
            yield name, "does not follow from the entry before it"
        before = found


def never_written(objects: Objects) -> list[str]:
    """The newest entry if it is empty: where there are no hard links, its writer may die between making and filling it.

    Not one of the last minute, for that may be about to be filled.
    """
    listed = list(_listed(objects).items())[-1:]
    return [name for name, info in listed if not info.size and time.time() - info.modified > FILLING]


def name_of(number: int) -> str:
    return f"{PROMOTIONS}/{number:08}.json"


def number_of(name: str) -> int:
    return int(name.removeprefix(f"{PROMOTIONS}/").removesuffix(".json"))


def _names(objects: Objects) -> list[str]:
    """The entries' names, in order. UserError if there is a gap."""
    names = list(_listed(objects))
    for number, name in enumerate(names, 1):
        if name != name_of(number):
            raise _refused(f"{name_of(number)} is missing")
    return names


def _listed(objects: Objects) -> dict[str, Info]:
    listed = objects.glob(f"{PROMOTIONS}/*.json")
    return {name: info for name, info in listed.items() if re.fullmatch(PROMOTIONS + r"/\d{8}\.json", name)}


def _refused(flaw: str) -> UserError:
    return UserError(
        f"the promotion log is not whole: {flaw}",
        "restore that file from a backup of the store; `reground fsck` lists all that is wrong",
    )
