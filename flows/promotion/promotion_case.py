"""What an entry of the promotion log is to say besides the action: about whom, by whom, and what the gate found."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.promotion.history import History
from flows.promotion.judged import weights
from flows.promotion.promotion_log import Action, Entry, State, Version
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.process import Process
from tasks.evaluation.gating.decision import Decision

# What the log keeps of a verdict; the rest stays in gate.json.
SHORTENED = {"against", "metric", "label", "must", "margin", "outcome", "value", "low", "high", "reason"}


@dataclass(frozen=True)
class Case:
    """Read once for an entry, whatever its number turns out to be."""

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
            verdicts=[each.model_dump(include=SHORTENED) for each in self.decision.verdicts] if self.decision else [],
            gate=self.gate,
            report=self.report,
            state=state,
            before=log.entries[-1].digest if log.entries else "",
        )


def name(artifact: Artifact) -> str:
    return f"{artifact.step}/{artifact.key}"


def version(adapter: Artifact) -> Version:
    return Version(name(adapter), weights(adapter), since=0)


def by(approver: str | None) -> dict[str, Any]:
    """Who writes: the process, the Prefect flow run if this is one, and who approved if someone was asked."""
    process = Process.this()
    told: dict[str, Any] = {"user": process.user, "host": process.host, "pid": process.pid, "flow_run": flow_run_id()}
    return {**told, "approver": approver}


def flow_run_id() -> str | None:
    if "prefect" not in sys.modules:  # then this is none, and importing it takes over a second
        return None
    from prefect.runtime import flow_run

    found: str | None = flow_run.get_id()
    return found
