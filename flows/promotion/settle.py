"""What becomes of a new adapter at the end of a retraining: promoted, put up for a decision, or refused.

No Prefect in here: a run that finds everything fresh settles as well, and starts none.
"""

from typing import Any, Literal, Protocol

from pydantic import Field

from flows.promotion.judged import decided
from flows.promotion.promotions import Outdated
from tasks.engine import Config, Text
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import Store


class PromotionConfig(Config):
    """Who decides that an adapter which the gate would promote goes into service."""

    mode: Literal["auto", "approve", "manual"] = Field(
        "auto",
        description="auto: the gate alone. approve: a person in Prefect, asked by `deployment`. manual: a person, by "
        "`reground promote` or the flow promote.",
    )
    deployment: Text | None = Field(
        None, description="For approve: the deployment of the flow promote to start, such as promote/promote."
    )
    mlflow: Text | None = Field(
        None,
        description="Registered model of MLflow that mirrors champion and previous; needs reground[mlflow].",
    )

    @property
    def asks(self) -> bool:
        """Whether a deployment is to ask a person."""
        return self.mode == "approve" and self.deployment is not None


class Settled(Protocol):
    """What settling needs of a retraining's outcome: artifacts."""

    @property
    def adapter(self) -> Any: ...

    @property
    def gate(self) -> Any: ...

    @property
    def report(self) -> Any: ...


def settle(store: Store, config: PromotionConfig, outcome: Settled) -> str:
    """Do with the adapter what its gate and the config say, and tell it in one line; why, the report's headline tells.

    May be called again for the same outcome: then it says nothing new in the log. What was rolled back, or refused by a
    person, stays out until a person promotes it. An MLflow registry that cannot be reached is told, and tried again the
    next time.
    """
    told = _settled(store, config, outcome.adapter, outcome.gate, outcome.report)
    if config.mlflow:
        from flows.promotion.registry import mirrored

        told += mirrored(store, config.mlflow)
    return told


def _settled(store: Store, config: PromotionConfig, adapter: Artifact, gate: Artifact, report: Artifact) -> str:
    log, gated = store.promotions, decided(gate)
    if log.is_champion(adapter):
        return f"{adapter.about} is in service."
    if gated.decision == "refuse":
        log.refuse(adapter, why=gated.why, gate=gate, report=report)
        return f"{adapter.about} is refused."
    if back := log.rolled_back(adapter):
        return f"{adapter.about} stays out of service: rolled back on {back.day} by {back.who}: {back.why}"
    if no := log.refused_by_hand(adapter):
        return f"{adapter.about} stays out of service: refused on {no.day} by {no.who}: {no.why}"
    if gated.decision == "undecided":
        log.challenge(adapter, gate=gate, report=report)
        return f"{adapter.about} is not promoted, for the gate cannot decide."
    if config.mode != "auto":
        log.challenge(adapter, gate=gate, report=report)
        return f"{adapter.about} may be promoted, and waits for {_whom(config)}."
    try:
        entry = log.promote(adapter, why=gated.why, gate=gate, report=report)
    except Outdated as error:  # another run promoted its adapter while this one compared
        log.challenge(adapter, gate=gate, report=report, why=error.what)
        return f"{error.what}; the next run compares anew"
    previous = entry.state.previous
    return f"{adapter.about} is promoted{f' in place of {previous.about}' if previous else ''}."


def _whom(config: PromotionConfig) -> str:
    if config.asks:
        return f"approval in a run of {config.deployment}"
    return "`reground promote`" if config.mode == "manual" else "approval in the flow promote"


def candidate(store: Store, name: str | None) -> Artifact:
    """The adapter that a person means to promote: by key or alias, or the challenger."""
    if name:
        return store.match(name)
    challenger = store.promotions.state.challenger
    if not challenger:
        raise UserError("no adapter waits for a decision", "name one: `reground promote export`, its newest, say")
    return store.promotions.artifact(challenger)
