"""What a check finds: a line of the doctor's table."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from flows.config import Retrain

Mark = Literal["ok", "note", "bad"]


class Finding(NamedTuple):
    """`ok`: as it should be. `note`: optional, or worth a look. `bad`: a run of this config would fail here."""

    mark: Mark
    what: str
    value: str
    remedy: str = ""


Check = Callable[[Retrain], Iterator[Finding]]


def ok(what: str, value: str) -> Finding:
    return Finding("ok", what, value)


def note(what: str, value: str, remedy: str = "") -> Finding:
    return Finding("note", what, value, remedy)


def bad(what: str, value: str, remedy: str) -> Finding:
    return Finding("bad", what, value, remedy)


def ok_if(fine: bool, what: str, value: str, remedy: str) -> Finding:
    return ok(what, value) if fine else note(what, value, remedy)


def gib(size: float) -> str:
    """Bytes for people: `15.6 GiB`, `512 MiB`, `0.2 MiB`."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"
