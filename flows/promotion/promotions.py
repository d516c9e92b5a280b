"""Which adapter is in service: promoted, rolled back, refused or waiting, each by one entry of the promotion log.

    champion      the adapter in service
    previous      the one that a rollback brings back
    challenger    one that waits for a decision; it was measured against the champion, so a new champion ends its wait

Champions are a stack. A rollback takes the top one out and remembers it: it comes back only if a person says so. Below
it lies the one before, and so on down; two rollbacks in a row go two steps down, never up again.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.promotion import promotion_case, promotion_log, refusals
from flows.promotion.history import History, same
from flows.promotion.judged import decided
from flows.promotion.promotion_case import Case
from flows.promotion.promotion_log import Entry, State, Version
from flows.promotion.refusals import Outdated
from tasks.engine import progress
from tasks.engine.errors import UserError
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.whole import whole

if TYPE_CHECKING:
    from tasks.engine.storage.store import Store

ADAPTERS = "export"  # the step whose artifacts are served

__all__ = ["Entry", "Outdated", "Promotions", "State", "Version"]


class Promotions:
    """The promotions of one store. Each method that writes may be called again: what is so already is not said twice.

    Any number of processes may write at once; one that finds its number taken reads what came in between and decides
    anew.
    """

    def __init__(self, store: "Store") -> None:
        self._store = store

    def entries(self) -> list[Entry]:
        """The whole log, oldest first."""
        return promotion_log.read(self._store.objects)

    @property
    def state(self) -> State:
        return promotion_log.state(self._store.objects)

    # Writing

    def challenge(
        self, adapter: Artifact, *, gate: Artifact | None = None, report: Artifact | None = None, why: str = ""
    ) -> Entry:
        """The adapter waits for a decision; without a `why`, for the gate's."""

        def decide(log: History) -> Entry:
            case = self._case(adapter, gate, report)
            waits = log.state.challenger
            last = log.last(case.version)
            if log.is_champion(case.version):
                return log.of_champion()
            if waits and same(waits, case.version) and last and last.gate == case.gate:
                return last
            reason = why or (case.decision.why if case.decision else "")
            return case.entry(log, "challenge", reason, log.after_challenge(case.version))

        with self._kept_from_gc():
            return self._append(decide)

    def promote(
        self,
        adapter: Artifact,
        *,
        why: str,
        gate: Artifact | None = None,
        report: Artifact | None = None,
        force: bool = False,
        approver: str | None = None,
    ) -> Entry:
        """Put the adapter into service. With a gate, only if that says so, of this adapter against this champion.

        Without one, or with `force`, a person's `why` stands in for it, and the entry says so. Only `force` brings back
        what was rolled back.
        """
        by_hand = force or gate is None
        refusals.require_reason(why, f"{adapter.about} would be promoted")

        def decide(log: History) -> Entry:
            case = self._case(adapter, gate, report, approver)
            if log.is_champion(case.version):
                return log.of_champion()
            if not force and log.was_rolled_back(case.version):
                raise refusals.rolled_back(case.version, log.last(case.version, "rollback"))
            if gate and not force:
                refusals.require_proof(log.state.champion, case.version, gate, decided(gate))
            return case.entry(log, "promote", why, log.after_promotion(case.version), by_hand=by_hand)

        with self._kept_from_gc():
            return self._append(decide)

    def refuse(
        self,
        adapter: Artifact,
        *,
        why: str,
        gate: Artifact | None = None,
        report: Artifact | None = None,
        approver: str | None = None,
    ) -> Entry:
        """The adapter does not go into service; of the champion this says nothing."""
        case = self._case(adapter, gate, report, approver)
        refusals.require_reason(why, f"{adapter.about} would be refused")

        def decide(log: History) -> Entry:
            last = log.last(case.version)
            if log.is_champion(case.version):
                return log.of_champion()
            if last and (last.action, last.gate, last.why) == ("refuse", case.gate, why):
                return last
            by_hand = approver is not None
            return case.entry(log, "refuse", why, log.after_refusal(case.version), by_hand=by_hand)

        return self._append(decide)

    def rollback(self, *, why: str, adapter: Artifact | None = None, approver: str | None = None) -> Entry:
        """Take `adapter`, or without it the champion, out of service, and bring back the one before.

        Said twice of the same adapter it is done once. Without a name it is refused right after another rollback: said
        twice by mistake, it would take a good adapter out.
        """
        refusals.require_reason(why, "the champion would be rolled back")
        champion = self.state.champion  # as whoever calls sees it now, not one that is promoted while we write
        meant = promotion_case.version(adapter) if adapter else champion  # flawed or not: it is to go
        if not meant:
            raise UserError("there is no champion to roll back", "see `reground versions`")
        run = promotion_case.flow_run_id()

        def decide(log: History) -> Entry:
            last = log.last_change()
            if adapter and log.was_rolled_back(meant):
                done = log.last(meant, "rollback")
                assert done
                return done
            if not adapter and last and last.action == "rollback":
                if same(last, meant) or (run and last.by["flow_run"] == run):
                    return last
                raise refusals.rolled_back_just_now(last, log.state)
            if not log.is_champion(meant):
                raise refusals.not_in_service(meant, log.state)
            previous = log.state.previous
            if not previous:
                raise UserError(
                    f"before {meant.about} no adapter was in service that could come back",
                    "promote another one: `reground promote ADAPTER --force --because …`",
                )
            self.artifact(previous)  # nothing that is not whole comes back
            case = Case(meant, promotion_case.by(approver))
            return case.entry(log, "rollback", why, log.after_rollback(meant), by_hand=True)

        return self._append(decide)

    # Asking

    def is_champion(self, adapter: Artifact) -> bool:
        champion = self.state.champion
        return champion is not None and self.is_same(champion, adapter)

    def is_same(self, version: Version, adapter: Artifact) -> bool:
        return same(version, promotion_case.version(adapter))

    def last_promotion(self, version: Version) -> Entry:
        """The entry that promoted this adapter last. UserError if none did."""
        entry = History(self.entries()).last(version, "promote")
        if not entry:
            raise UserError(f"{version.about} was never promoted", "see `reground versions`")
        return entry

    def was_rolled_back(self, adapter: Artifact) -> bool:
        """Whether the adapter was taken out of service, and not promoted again since."""
        return self.rolled_back(adapter) is not None

    def rolled_back(self, adapter: Artifact) -> Entry | None:
        """The entry that took the adapter out of service, unless it was promoted again since."""
        log, version = History(self.entries()), promotion_case.version(adapter)
        return log.last(version, "rollback") if log.was_rolled_back(version) else None

    def refused_by_hand(self, adapter: Artifact) -> Entry | None:
        """The entry by which a person refused the adapter, unless it was promoted since."""
        return History(self.entries()).refused_by_hand(promotion_case.version(adapter))

    def incumbent(self, adapter: Artifact | None) -> Artifact | None:
        """The champion that this adapter is to be compared with; None if there is none. NotWhole if it is gone.

        For the champion itself it is the one that was in service when it was promoted: so a run in which nothing
        changed compares with the same one as before.
        """
        log = History(self.entries())
        champion = log.state.champion
        if champion and adapter and same(champion, promotion_case.version(adapter)):
            champion = log.before_promotion(champion)
        return self.artifact(champion) if champion else None

    def artifact(self, version: Version) -> Artifact:
        """The adapter itself. NotWhole if it is gone or flawed."""
        return whole(self._store, version.step, version.key)

    def _case(
        self,
        adapter: Artifact,
        gate: Artifact | None = None,
        report: Artifact | None = None,
        approver: str | None = None,
    ) -> Case:
        if adapter.step != ADAPTERS:
            raise UserError(f"{adapter.about} is no adapter that can be served", f"give an artifact of {ADAPTERS}")
        for each in filter(None, (adapter, gate)):
            whole(self._store, each.step, each.key)
        return Case(
            promotion_case.version(adapter),
            promotion_case.by(approver),
            gate=promotion_case.name(gate) if gate else None,
            decision=decided(gate) if gate else None,
            report=promotion_case.name(report) if report else None,
        )

    @contextmanager
    def _kept_from_gc(self) -> Iterator[None]:
        """No collection goes on meanwhile: one that has read the log already might take what is about to be named."""
        with lease.held(self._store.objects, "gc", self._store.lease_seconds, progress.say):
            yield

    def _append(self, decide: Callable[[History], Entry]) -> Entry:
        """Write the entry that `decide` makes of the log, or leave it at the one that it finds there."""
        objects = self._store.objects
        if self._store.mirror:
            self._store.mirror.require_exclusive_create()
        while True:
            log = History(self.entries())
            entry = decide(log)
            new = entry.number == log.next_number
            if not new or objects.create(promotion_log.name_of(entry.number), entry.content(), durable=True):
                return entry
            time.sleep(random.uniform(0, objects.patience))  # another took the number
