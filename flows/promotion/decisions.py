"""What becomes of an adapter: by its gate at the end of a retraining, or by a person from the terminal or Prefect.

No Prefect in here: a retraining that finds everything fresh applies the decision as well, and starts none.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from flows.promotion.candidates import find, gate_decision, gate_of, report_of, version
from flows.promotion.log import Entry, same
from flows.promotion.promotions import Outdated, Promotions
from flows.promotion.registry import Mirrored, update_registry
from flows.serving.signing import require_signed, sign_adapter, signature_of
from flows.serving.swap import NotServed, ServingConfig, Swapped, swap
from tasks.engine import Config, Text
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import Store

Outcome = Literal[
    "promoted",
    "in service",  # it was already
    "refused",
    "undecided",  # a challenger: the gate could not decide
    "waiting",  # a challenger: the gate would promote it, and a person decides
    "outdated",  # a challenger: another adapter was promoted while this one was compared
    "kept out",  # rolled back or refused by a person before, and not promoted since
    "rolled back",
]


class PromotionConfig(Config):
    """Who decides that an adapter which the gate would promote goes into service."""

    mode: Literal["auto", "approve", "manual"] = Field(
        "auto",
        description="auto: the gate alone. approve: a person in Prefect, asked by `deployment`. manual: a person, by "
        "`reground promote` or the flow promote.",
    )
    deployment: Text | None = Field(
        None,
        description="For approve: the deployment of the flow promote to start, such as promote/promote; without it "
        "that of the run's own project, and in a terminal none.",
    )
    mlflow: Text | None = Field(
        None,
        description="Registered model of MLflow that mirrors champion and previous; needs reground[mlflow].",
    )
    sign: str | None = Field(
        None,
        description="A private elliptic-curve key, a PEM file, that the adapter of each retraining is signed with; "
        "needs reground[sign].",
    )
    serving: ServingConfig = ServingConfig()

    @property
    def asks(self) -> bool:
        """Whether a deployment asks a person."""
        return self.mode == "approve" and self.deployment is not None


@dataclass(frozen=True)
class AdapterOutcome:
    """What became of an adapter. `flows.promotion.view.sentence` says it in words.

    `entry` is the entry of the log that says why, when and by whom. `waits_for` is approval, command, or the name of
    the deployment that asks. `champion` is in service after a rollback. `mirrored` is what was changed in the MLflow
    registry, `swapped` what on the servers, and `unserved` says why they did not take the adapter.
    """

    outcome: Outcome
    adapter: str  # export/<first digits of the key>
    entry: Entry
    by_hand: bool = False  # a person asked for it, not a retraining
    waits_for: str | None = None
    champion: str | None = None
    mirrored: Mirrored | None = None
    swapped: Swapped | None = None
    unserved: str | None = None


class Retrained(Protocol):
    """What a decision needs of a retraining: artifacts."""

    @property
    def adapter(self) -> Any: ...

    @property
    def gate(self) -> Any: ...

    @property
    def report(self) -> Any: ...


def apply_decision(store: Store, config: PromotionConfig, result: Retrained) -> AdapterOutcome:
    """Do with the adapter what its gate and the config say.

    May be called again for the same result: nothing is entered twice. An adapter that was rolled back, or refused by a
    person, stays out until a person promotes it. An MLflow registry that cannot be reached is no failure, and is tried
    again the next time.
    """
    if config.sign and signature_of(result.adapter.folder, store, result.adapter) is None:
        sign_adapter(store, result.adapter, Path(config.sign))
    decision = _decide(Promotions(store), config, result.adapter, result.gate, result.report)
    return followed(store, decision, config.mlflow, config.serving)


def _decide(
    promotions: Promotions, config: PromotionConfig, adapter: Artifact, gate: Artifact, report: Artifact
) -> AdapterOutcome:
    log, decision, this, about = promotions.log(), gate_decision(gate), version(adapter), adapter.about
    proof: dict[str, Any] = {"gate": gate, "report": report}
    if log.is_champion(this):
        return AdapterOutcome("in service", about, log.champion_entry())
    if decision.decision == "refuse":
        return AdapterOutcome("refused", about, promotions.refuse(adapter, why=decision.why, **proof))
    if before := log.rolled_back(this) or log.refused_by_hand(this):
        return AdapterOutcome("kept out", about, before)
    if decision.decision == "undecided":
        return AdapterOutcome("undecided", about, promotions.challenge(adapter, **proof))
    if config.mode != "auto":
        waits_for = config.deployment if config.asks else "command" if config.mode == "manual" else "approval"
        return AdapterOutcome("waiting", about, promotions.challenge(adapter, **proof), waits_for=waits_for)
    require_signed(promotions.store, adapter, config.serving.public_key)
    try:
        return AdapterOutcome("promoted", about, promotions.promote(adapter, why=decision.why, **proof))
    except Outdated as error:
        return AdapterOutcome("outdated", about, promotions.challenge(adapter, why=error.what, **proof))


def promote(
    store: Store,
    adapter: str | None,
    *,
    because: str = "",
    force: bool = False,
    approver: str | None = None,
    public_key: str | None = None,
) -> AdapterOutcome:
    """Promote the adapter, or without a name the challenger; if there is a `public_key`, only what it vouches for.

    Its newest gate is its proof, and without a `because` the gate's reason is the reason. An adapter that no gate
    judged needs `force`.
    """
    promotions, found = Promotions(store), candidate(store, adapter)
    gate = gate_of(store, found)
    if not gate and not force:
        raise UserError(
            f"{found.about} was judged by no gate",
            "run `reground retrain`, or promote it by hand: `--force --because …`",
        )
    if force and not because.strip():
        raise UserError("--force promotes against the gate, so it needs a reason", "say why: `--because …`")
    require_signed(store, found, public_key)
    before = promotions.state.champion
    why = because or (gate_decision(gate).why if gate else "")
    report = report_of(store, gate)
    entry = promotions.promote(found, why=why, gate=gate, report=report, force=force, approver=approver)
    outcome: Outcome = "in service" if before and same(before, version(found)) else "promoted"
    return AdapterOutcome(outcome, found.about, entry, by_hand=True)


def refuse(store: Store, adapter: str, *, because: str, approver: str | None = None) -> AdapterOutcome:
    found = candidate(store, adapter)
    gate = gate_of(store, found)
    report = report_of(store, gate)
    entry = Promotions(store).refuse(found, why=because, gate=gate, report=report, approver=approver)
    return AdapterOutcome("refused", entry.about, entry, by_hand=True)


def rollback(store: Store, adapter: str | None = None, *, because: str) -> AdapterOutcome:
    """Take the adapter, or without a name the champion, out of service."""
    promotions = Promotions(store)
    entry = promotions.rollback(why=because, adapter=find(store, adapter) if adapter else None)
    champion = promotions.state.champion
    now = champion.about if champion else None
    return AdapterOutcome("rolled back", entry.about, entry, by_hand=True, champion=now)


def candidate(store: Store, name: str | None) -> Artifact:
    """The adapter that a person means to promote: by key or alias, or without a name the challenger."""
    if name:
        return find(store, name)
    promotions = Promotions(store)
    challenger = promotions.state.challenger
    if not challenger:
        raise UserError("no adapter waits for a decision", "name one, such as the newest: `reground promote export`")
    return promotions.artifact(challenger)


def followed(
    store: Store, decision: AdapterOutcome, model: str | None, serving: ServingConfig | None = None
) -> AdapterOutcome:
    """The decision, after servers and the MLflow registry `model`, if any are named, were brought up to date.

    A promotion that the servers do not take is undone, if an adapter was in service before.
    """
    if serving and serving.replicas:
        decision = _swapped(store, decision, serving)
    return replace(decision, mirrored=update_registry(store, model)) if model else decision


def _swapped(store: Store, decision: AdapterOutcome, serving: ServingConfig) -> AdapterOutcome:
    try:
        return replace(decision, swapped=swap(store, serving, partly=decision.outcome == "rolled back"))
    except NotServed as error:
        if decision.outcome != "promoted" or not decision.entry.state.previous:
            return replace(decision, unserved=error.what)
        undone = rollback(store, decision.entry.adapter, because=error.what)
        return replace(undone, unserved=error.what)
