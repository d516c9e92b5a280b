"""Lots that are drawn by name, so that they fall alike in every process and however many rows there are."""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

Thing = TypeVar("Thing")


def draw(*names: str) -> int:
    """A number of 64 bits that only the names decide."""
    return int.from_bytes(sha256("\0".join(names).encode()).digest()[:8])


def one_of(things: Sequence[Thing], *names: str) -> Thing:
    return things[draw(*names) % len(things)]


def shuffled(things: Sequence[Thing], *names: str) -> list[Thing]:
    """The things in an order that only the names and their number decide."""
    order = sorted(range(len(things)), key=lambda at: draw(*names, str(at)))
    return [things[at] for at in order]
