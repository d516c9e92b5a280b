"""What the entries of the promotion log say together: the stack of champions, and what became of each adapter."""

from collections.abc import Sequence
from dataclasses import replace

from flows.promotion.promotion_log import Entry, State, Version


def same(one: Version | Entry, other: Version | Entry) -> bool:
    """Whether they are the same adapter: by key, or made again under another key with the same weights."""
    return one.adapter == other.adapter or one.weights == other.weights


class History:
    """The log as far as it goes; nothing here reads or writes."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.state = entries[-1].state if entries else State()

    @property
    def next_number(self) -> int:
        return len(self.entries) + 1

    def is_champion(self, adapter: Version) -> bool:
        return bool(self.state.champion and same(self.state.champion, adapter))

    def of_champion(self) -> Entry:
        """The entry that put the champion into service."""
        assert self.state.champion
        return self.entries[self.state.champion.since - 1]

    def last(self, adapter: Version, *actions: str) -> Entry | None:
        """The newest entry about the adapter; with `actions`, of these."""
        about = (e for e in reversed(self.entries) if same(e, adapter) and (not actions or e.action in actions))
        return next(about, None)

    def last_judged(self, adapter: Version) -> Entry | None:
        """The newest entry about the adapter that has a gate's word."""
        return next((e for e in reversed(self.entries) if same(e, adapter) and e.decision), None)

    def last_change(self) -> Entry | None:
        """The newest entry that changed the champion."""
        return next((e for e in reversed(self.entries) if e.action in ("promote", "rollback")), None)

    def was_rolled_back(self, adapter: Version) -> bool:
        entry = self.last(adapter, "promote", "rollback")
        return entry is not None and entry.action == "rollback"

    def refused_by_hand(self, adapter: Version) -> Entry | None:
        """The newest entry by which a person refused the adapter, unless it was promoted since."""
        about = (e for e in reversed(self.entries) if same(e, adapter))
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
            version = Version(entry.adapter, entry.weights, entry.number)
            if entry.action == "promote" and not any(same(version, each) for each in found):
                found.append(version)
        return found[:most]

    def stack(self) -> list[Version]:
        """The adapters that are or were champion, oldest first, without those that were rolled back."""
        stack: list[Version] = []
        for entry in self.entries:
            version = Version(entry.adapter, entry.weights, entry.number)
            if entry.action in ("promote", "rollback"):
                stack = _without(stack, version)
            if entry.action == "promote":
                stack.append(version)
        return stack

    # What an entry of the next number would leave

    def after_promotion(self, adapter: Version) -> State:
        stack = [*_without(self.stack(), adapter), adapter]
        return self._served(stack)

    def after_rollback(self, champion: Version) -> State:
        return self._served(_without(self.stack(), champion))

    def after_challenge(self, adapter: Version) -> State:
        return replace(self.state, challenger=replace(adapter, since=self.next_number))

    def after_refusal(self, adapter: Version) -> State:
        waits = self.state.challenger
        return replace(self.state, challenger=None) if waits and same(waits, adapter) else self.state

    def _served(self, stack: list[Version]) -> State:
        """The top two of the stack, in their roles from the next entry on. A challenger has lost whom it challenged."""
        now = [replace(each, since=self.next_number) for each in reversed(stack)]
        return State(champion=now[0] if now else None, previous=now[1] if len(now) > 1 else None)


def _without(stack: list[Version], adapter: Version) -> list[Version]:
    return [each for each in stack if not same(each, adapter)]
