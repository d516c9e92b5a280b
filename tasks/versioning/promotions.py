"""Which adapter is in service: promoted, rolled back, refused or waiting, each by one entry of the promotion log.

    champion      the adapter in service
    previous      the one that a rollback brings back
    challenger    one that waits for a decision; it was measured against the champion, so a new champion ends its wait

Champions are a stack. A rollback takes the top one out and remembers it: it comes back only if a person says so. Below
it lies the one before, and so on down; two rollbacks in a row go two steps down, never up again.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks import progress
from tasks.errors import UserError
from tasks.versioning import lease, promotion_log
from tasks.versioning.artifact import SHORT, Artifact
from tasks.versioning.history import History, same
from tasks.versioning.judged import Decision, decided, judged, weights
from tasks.versioning.process import Process
from tasks.versioning.promotion_log import Action, Entry, State, Version

if TYPE_CHECKING:
    from tasks.versioning.store import Store

ADAPTERS = "export"  # the step whose artifacts are served

__all__ = ["Entry", "Promotions", "State", "Version"]


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
            return case.entry(
                log, "challenge", why or (case.decision.why if case.decision else ""), log.after_challenge(case.version)
            )

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
        _require_reason(why, f"{adapter.about} would be promoted")

        def decide(log: History) -> Entry:
            case = self._case(adapter, gate, report, approver)
            if log.is_champion(case.version):
                return log.of_champion()
            if not force and log.was_rolled_back(case.version):
                raise _rolled_back(case.version, log.last(case.version, "rollback"))
            if gate and not force:
                _require_proof(log.state.champion, case, gate)
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
        _require_reason(why, f"{adapter.about} would be refused")

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
        _require_reason(why, "the champion would be rolled back")
        champion = self.state.champion  # as whoever calls sees it now, not one that is promoted while we write
        meant = self._case(adapter).version if adapter else champion
        if not meant:
            raise UserError("there is no champion to roll back", "see `reground versions`")
        run = _flow_run()

        def decide(log: History) -> Entry:
            last = log.last_change()
            if adapter and log.was_rolled_back(meant):
                done = log.last(meant, "rollback")
                assert done
                return done
            if not adapter and last and last.action == "rollback":
                if same(last, meant) or (run and last.by["flow_run"] == run):
                    return last
                raise _rolled_back_just_now(last, log.state)
            if not log.is_champion(meant):
                raise _not_in_service(meant, log.state)
            previous = log.state.previous
            if not previous:
                raise UserError(
                    f"before {meant.about} no adapter was in service that could come back",
                    "promote another one: `reground promote ADAPTER --force --because …`",
                )
            self.artifact(previous)  # nothing that is not whole comes back
            return _Case(meant, _by(approver)).entry(log, "rollback", why, log.after_rollback(meant), by_hand=True)

        return self._append(decide)

    # Asking

    def is_champion(self, adapter: Artifact) -> bool:
        champion = self.state.champion
        return champion is not None and self.is_same(champion, adapter)

    def is_same(self, version: Version, adapter: Artifact) -> bool:
        return same(version, _version(adapter))

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
        log, version = History(self.entries()), _version(adapter)
        return log.last(version, "rollback") if log.was_rolled_back(version) else None

    def incumbent(self, adapter: Artifact | None) -> Artifact | None:
        """The champion that this adapter is to be compared with; None if there is none.

        For the champion itself it is the one that was in service when it was promoted: so a run in which nothing
        changed compares with the same one as before.
        """
        log = History(self.entries())
        champion = log.state.champion
        if champion and adapter and same(champion, _version(adapter)):
            champion = log.before_promotion(champion)
        return self.artifact(champion) if champion else None

    def artifact(self, version: Version) -> Artifact:
        """The adapter itself. UserError if it is gone or flawed."""
        return _whole(self._store, version.step, version.key)

    def _case(
        self,
        adapter: Artifact,
        gate: Artifact | None = None,
        report: Artifact | None = None,
        approver: str | None = None,
    ) -> "_Case":
        if adapter.step != ADAPTERS:
            raise UserError(f"{adapter.about} is no adapter that can be served", f"give an artifact of {ADAPTERS}")
        for each in filter(None, (adapter, gate)):
            _whole(self._store, each.step, each.key)
        return _Case(
            _version(adapter),
            _by(approver),
            gate=_name(gate) if gate else None,
            decision=decided(gate) if gate else None,
            report=_name(report) if report else None,
        )

    @contextmanager
    def _kept_from_gc(self) -> Iterator[None]:
        """No collection goes on meanwhile: one that has read the log already might take what is about to be named."""
        if self._store.mirror:
            self._store.mirror.require_exclusive_create()
        with lease.held(self._store.objects, "gc", self._store.lease_seconds, progress.say):
            yield

    def _append(self, decide: Callable[[History], Entry]) -> Entry:
        """Write the entry that `decide` makes of the log, or leave it at the one that it finds there."""
        objects = self._store.objects
        while True:
            log = History(self.entries())
            entry = decide(log)
            new = entry.number == log.next_number
            if not new or objects.create(promotion_log.name_of(entry.number), entry.content(), durable=True):
                return entry
            time.sleep(random.uniform(0, objects.patience))  # another took the number


class Outdated(UserError):
    """The gate compared with a champion that is not the one in service any more."""


@dataclass(frozen=True)
class _Case:
    """What an entry is to say besides the action: about whom, by whom, and what the gate found."""

    version: Version
    by: dict[str, Any]
    gate: str | None = None
    decision: Decision | None = None
    report: str | None = None

    def entry(self, log: History, action: Action, why: str, state: State, *, by_hand: bool = False) -> Entry:
        return Entry(
            number=log.next_number,
            action=action,
            adapter=self.version.adapter,
            weights=self.version.weights,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            by=self.by,
            why=why,
            by_hand=by_hand,
            decision=self.decision.decision if self.decision else None,
            verdicts=self.decision.verdicts if self.decision else [],
            gate=self.gate,
            report=self.report,
            state=state,
            before=log.entries[-1].digest if log.entries else "",
        )


def _require_proof(champion: Version | None, case: _Case, gate: Artifact) -> None:
    """UserError unless the gate says promote, and means this adapter against the champion of now."""
    assert case.decision
    about = case.version.about
    if case.decision.decision != "promote":
        verb = "refused it" if case.decision.decision == "refuse" else "could not decide"
        raise UserError(
            f"{about} is not promoted: the gate {verb}. {case.decision.why}",
            "train a better one, or promote it by hand: `--force --because …`",
        )
    compared = judged(gate)
    if compared.adapter != case.version.weights:
        raise UserError(f"{gate.about} judged another adapter than {about}", "give the gate of this adapter")
    if compared.champion != (champion.weights if champion else None):
        now = f"{champion.about} is champion now" if champion else "there is no champion now"
        raise Outdated(
            f"{gate.about} compared {about} with another champion: {now}",
            "run `reground retrain`, which compares anew, or promote it by hand: `--force --because …`",
        )


def _require_reason(why: str, what: str) -> None:
    if not why.strip():
        raise UserError(f"{what} for no reason", "say why: `--because …`")


def _rolled_back(version: Version, entry: Entry | None) -> UserError:
    when = f" on {entry.day} by {entry.who}: {entry.why}" if entry else ""
    return UserError(
        f"{version.about} was rolled back{when}", "bring it back only by hand: `reground promote --force --because …`"
    )


def _rolled_back_just_now(entry: Entry, state: State) -> UserError:
    champion = state.champion
    assert champion
    return UserError(
        f"{entry.about} was rolled back already, on {entry.day} by {entry.who}; {champion.about} is in service",
        f"to take that one out as well, name it: `reground rollback {champion.about} --because …`",
    )


def _not_in_service(version: Version, state: State) -> UserError:
    now = f"{state.champion.about} is" if state.champion else "no adapter is"
    return UserError(f"{version.about} is not in service: {now}", "see `reground versions`")


def _whole(store: "Store", step: str, key: str) -> Artifact:
    found = store.find(step, key)
    if not found:
        raise UserError(
            f"{step}/{key[:SHORT]} is not whole: {store.flaw(step, key)}",
            "restore it from a backup, or run again the retraining that made it",
        )
    return found


def _name(artifact: Artifact) -> str:
    return f"{artifact.step}/{artifact.key}"


def _version(adapter: Artifact) -> Version:
    return Version(_name(adapter), weights(adapter), since=0)


def _by(approver: str | None) -> dict[str, Any]:
    """Who writes: the process, the Prefect flow run if this is one, and who approved if someone was asked."""
    process = Process.this()
    told: dict[str, Any] = {"user": process.user, "host": process.host, "pid": process.pid, "flow_run": _flow_run()}
    return {**told, "approver": approver}


def _flow_run() -> str | None:
    if "prefect" not in sys.modules:  # then this is none, and importing it takes over a second
        return None
    from prefect.runtime import flow_run

    found: str | None = flow_run.get_id()
    return found
