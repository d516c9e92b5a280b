"""Which adapter is in service: promoted, rolled back, refused or waiting, each by one entry of the promotion log.

    champion      the adapter in service
    previous      the adapter that a rollback brings back
    challenger    an adapter that waits for a decision; a new champion ends the wait, as it was compared with the old

Champions are a stack. A rollback removes the top one, and it comes back only if a person says so. Two rollbacks in a
row go two steps down, never up again.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.orchestration import flow_run_id
from flows.promotion import log as promotion_log
from flows.promotion.candidates import ADAPTERS, Subject, gate_decision, version
from flows.promotion.log import Action, Entry, Log, State, Version, same
from tasks.engine import progress
from tasks.engine.errors import UserError
from tasks.engine.storage import lease
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.process import Process
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.decision import Decision
from tasks.models.bundle import MANIFEST, require_intact

# The fields of a verdict that the log keeps; the rest stays in gate.json.
SHORTENED = {"against", "metric", "label", "must", "margin", "outcome", "value", "low", "high", "reason"}


class Outdated(UserError):
    """The gate compared with a champion that is no longer in service."""


class Promotions:
    """The promotions of a store's project. Every method that writes may be called again: nothing is entered twice.

    Any number of processes may write at once; one that finds its number taken reads the new entries and decides again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def log(self) -> Log:
        return promotion_log.read(self.store)

    def entries(self) -> list[Entry]:
        """The whole log, oldest first."""
        return list(self.log().entries)

    @property
    def state(self) -> State:
        return promotion_log.read_state(self.store)

    # Writing

    def challenge(
        self, adapter: Artifact, *, gate: Artifact | None = None, report: Artifact | None = None, why: str = ""
    ) -> Entry:
        """The adapter waits for a decision; without a `why`, for the gate's reason."""

        def decide(log: Log, case: _Case) -> Entry:
            waits, last = log.state.challenger, log.last(case.version)
            if waits and same(waits, case.version) and last and last.gate == case.gate:
                return last
            reason = why or (case.decision.why if case.decision else "")
            return case.entry(log, "challenge", reason, log.after_challenge(case.version))

        with self._no_collection():
            return self._append(self._case(adapter, gate, report), decide)

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
        """Put the adapter into service. With a gate, only if the gate compared it with today's champion and says so.

        Without a gate, or with `force`, a person's `why` replaces it, and the entry says so. Only `force` brings back
        an adapter that was rolled back.
        """
        _require_reason(why, f"{adapter.about} would be promoted")

        def decide(log: Log, case: _Case) -> Entry:
            if not force and (back := log.rolled_back(case.version)):
                raise UserError(
                    f"{adapter.about} was rolled back on {back.minute} by {back.who}: {back.why}",
                    "bring it back only by hand: `reground promote --force --because …`",
                )
            if gate and case.decision and not force:
                _require_proof(log.state.champion, case.version, gate, case.decision)
            by_hand = force or gate is None
            return case.entry(log, "promote", why, log.after_promotion(case.version), by_hand=by_hand)

        with self._no_collection():
            return self._append(self._case(adapter, gate, report, approver), decide)

    def refuse(
        self,
        adapter: Artifact,
        *,
        why: str,
        gate: Artifact | None = None,
        report: Artifact | None = None,
        approver: str | None = None,
    ) -> Entry:
        """The adapter does not go into service; the champion stays as it is."""
        _require_reason(why, f"{adapter.about} would be refused")

        def decide(log: Log, case: _Case) -> Entry:
            last = log.last(case.version)
            if last and (last.action, last.gate, last.why) == ("refuse", case.gate, why):
                return last
            by_hand = approver is not None
            return case.entry(log, "refuse", why, log.after_refusal(case.version), by_hand=by_hand)

        return self._append(self._case(adapter, gate, report, approver), decide)

    def rollback(self, *, why: str, adapter: Artifact | None = None, approver: str | None = None) -> Entry:
        """Take `adapter`, or without it the champion, out of service, and bring back the one before.

        Repeated for the same adapter it is done once. Without a name it is refused right after another rollback:
        repeated by mistake, it would take a good adapter out of service.
        """
        _require_reason(why, "the champion would be rolled back")
        champion = self.state.champion  # as the caller sees it now, not one that is promoted meanwhile
        target = version(adapter) if adapter else champion  # damaged or not: it is to go
        if not target:
            raise UserError("there is no champion to roll back", "see `reground versions`")
        run = flow_run_id()

        def decide(log: Log, case: _Case) -> Entry:
            last, champion, previous = log.last_change(), log.state.champion, log.state.previous
            if adapter and (done := log.rolled_back(target)):
                return done
            if not adapter and last and last.action == "rollback":
                if same(last.version, target) or (run and last.by["flow_run"] == run):
                    return last
                assert champion
                raise UserError(
                    f"{last.about} was rolled back already, on {last.minute} by {last.who}; "
                    f"{champion.about} is in service",
                    f"to take that one out as well, name it: `reground rollback {champion.about} --because …`",
                )
            if not log.is_champion(target):
                now = f"{champion.about} is" if champion else "no adapter is"
                raise UserError(f"{target.about} is not in service: {now}", "see `reground versions`")
            if not previous:
                raise UserError(
                    f"before {target.about} no adapter was in service that could come back",
                    "promote another one: `reground promote ADAPTER --force --because …`",
                )
            self.artifact(previous)  # only an intact adapter comes back
            return case.entry(log, "rollback", why, log.after_rollback(target), by_hand=True)

        return self._append(_Case(target, _writer(approver)), decide, of_champion=True)

    # Asking

    def is_champion(self, adapter: Artifact) -> bool:
        champion = self.state.champion
        return champion is not None and same(champion, version(adapter))

    def before(self, adapter: Artifact | None) -> Log:
        """The log that this adapter is judged by: for the champion itself, as it was before the champion's promotion.

        So a run in which nothing changed compares with the same adapters as before.
        """
        log = self.log()
        champion = log.state.champion
        if champion and adapter and same(champion, version(adapter)) and (entry := log.last(champion, "promote")):
            return Log(log.entries[: entry.number - 1])
        return log

    def artifact(self, version: Version) -> Artifact:
        """The adapter itself. CorruptArtifact if it is gone or damaged."""
        return self.store.require(version.step, version.key)

    def _case(
        self, adapter: Artifact, gate: Artifact | None, report: Artifact | None, approver: str | None = None
    ) -> "_Case":
        if adapter.step != ADAPTERS:
            raise UserError(f"{adapter.about} is no adapter that can be served", f"give an artifact of {ADAPTERS}")
        for each in filter(None, (adapter, gate)):
            self.store.require(each.step, each.key)
        if f"adapter/{MANIFEST}" in adapter.all_files:  # what came in is in no manifest of the store's
            require_intact(adapter["adapter"].local())
        return _Case(
            version(adapter),
            _writer(approver),
            gate=f"{gate.step}/{gate.key}" if gate else None,
            report=f"{report.step}/{report.key}" if report else None,
            decision=gate_decision(gate) if gate else None,
        )

    @contextmanager
    def _no_collection(self) -> Iterator[None]:
        """No collection runs meanwhile: one that has read the log already might remove what the entry will name."""
        with lease.held(self.store.objects, "gc", self.store.lease_seconds, progress.say):
            yield

    def _append(self, case: "_Case", decide: "Callable[[Log, _Case], Entry]", *, of_champion: bool = False) -> Entry:
        """Write the entry that `decide` makes of the log, or return the one that it finds there.

        About the champion nothing new is said, unless the entry is one `of_champion`.
        """
        objects = self.store.objects
        self.store.require_exclusive_create()
        while True:
            log = self.log()
            if log.is_champion(case.version) and not of_champion:
                return log.champion_entry()
            entry = decide(log, case)
            new = entry.number == log.next_number
            if not new or objects.create(
                promotion_log.name_of(self.store, entry.number), entry.content(), durable=True
            ):
                return entry
            time.sleep(random.uniform(0, objects.patience))  # another took the number


@dataclass(frozen=True)
class _Case:
    """What an entry says besides the action; read once, whatever its number turns out to be."""

    version: Version
    by: dict[str, Any]
    gate: str | None = None
    report: str | None = None
    decision: Decision | None = None

    def entry(self, log: Log, action: Action, why: str, state: State, *, by_hand: bool = False) -> Entry:
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
            verdicts=[each.model_dump(include=SHORTENED) for each in self.decision.verdicts] if self.decision else [],
            gate=self.gate,
            report=self.report,
            state=state,
            before=log.entries[-1].digest if log.entries else "",
        )


def _writer(approver: str | None) -> dict[str, Any]:
    """Who writes: the process, the Prefect flow run if this is one, and who approved if someone was asked."""
    process = Process.this()
    facts = {"user": process.user, "host": process.host, "pid": process.pid}
    return {**facts, "flow_run": flow_run_id(), "approver": approver}


def _require_reason(why: str, what: str) -> None:
    if not why.strip():
        raise UserError(f"{what} for no reason", "say why: `--because …`")


def _require_proof(champion: Version | None, adapter: Version, gate: Artifact, decision: Decision) -> None:
    """UserError unless the gate says promote, about this adapter and today's champion."""
    about = adapter.about
    if decision.decision != "promote":
        verb = "refused it" if decision.decision == "refuse" else "could not decide"
        raise UserError(
            f"{about} is not promoted: the gate {verb}. {decision.why}",
            "train a better one, or promote it by hand: `--force --because …`",
        )
    subject = Subject.of(gate)
    if subject.adapter != adapter.weights:
        raise UserError(f"{gate.about} judged another adapter than {about}", "give the gate of this adapter")
    if subject.champion != (champion.weights if champion else None):
        now = f"{champion.about} is champion now" if champion else "there is no champion now"
        raise Outdated(
            f"{gate.about} compared {about} with another champion: {now}",
            "run `reground retrain`, which compares again, or promote it by hand: `--force --because …`",
        )
