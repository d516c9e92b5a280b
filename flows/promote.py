"""Prefect flows that put an adapter into service and take it out again, with a person's approval where that is wanted.

The retraining flow settles its own adapter (`flows/promotion/settle.py`); these are for whoever decides: from the UI,
by a schedule, an automation, or asked by a retraining whose `promotion.mode` is approve.
"""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed
from pydantic import Field

from flows.orchestration import ui_artifacts
from flows.orchestration.task_runner import retry_transient
from flows.promotion import decide
from flows.promotion.announce import announced
from flows.promotion.judged import decided
from flows.promotion.settle import PromotionConfig, Settled, candidate, settle
from flows.promotion.versions import markdown, versions
from flows.settings import StoreConfig, refuse_outside
from tasks.engine import Text
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store

__all__ = ["PromotionConfig", "promote", "rollback", "settle", "settle_and_ask"]

SERVED = "versions"  # key of the Markdown artifact


class Promote(StoreConfig):
    """What to promote, and on whose word."""

    adapter: Text | None = Field(None, description="Key or alias of an export artifact; without it the challenger.")
    because: Text = Field("", description="Why; without it the gate's own reason.")
    force: bool = Field(False, description="Promote against the gate, or what was rolled back. Needs a reason.")
    approval: bool = Field(False, description="Suspend this run until a person has approved, by its form.")
    mlflow: Text | None = Field(None, description="Registered model of MLflow to mirror champion and previous to.")


class Rollback(StoreConfig):
    """What to take out of service, and why."""

    because: Text = Field(..., min_length=1, description="Why; it stays in the promotion log.")
    adapter: Text | None = Field(None, description="Key or alias of the adapter to take out; without it the champion.")
    mlflow: Text | None = Field(None, description="Registered model of MLflow to mirror champion and previous to.")


class Approval(RunInput):
    """What the person who decides fills in."""

    approve: bool = Field(description="Put this adapter into service.")
    reason: str = Field(min_length=1, description="Why, or why not; it stays in the promotion log.")
    name: str = Field(min_length=1, description="Who decides.")
    adapter: str = Field(description="The adapter that this is about.")


CHALLENGER = Promote()


@flow(name="promote", validate_parameters=True)
def promote(request: Promote = CHALLENGER) -> State[str]:
    """Put an adapter into service, if its gate says so; with `approval`, only once a person has approved.

    The state message tells the outcome. A run that waits for approval is suspended and needs no worker; resumed, it
    goes on from the top.
    """
    refuse_outside(request)
    return retry_transient(lambda: _promoted(request))


@flow(name="rollback", validate_parameters=True)
def rollback(request: Rollback) -> State[str]:
    """Take the champion out of service and bring back the adapter before it. The state message tells the outcome."""
    refuse_outside(request)
    return retry_transient(lambda: _rolled_back(request))


# Each of these may be done again: what is in the promotion log already is not entered twice.


def _promoted(request: Promote) -> State[str]:
    store = request.open_store()
    with announced(store):
        if request.approval:
            told = _asked(store, request)
        else:
            told = decide.promote(store, request.adapter, because=request.because, force=request.force)
    return _ended(store, told, request.mlflow)


def _rolled_back(request: Rollback) -> State[str]:
    store = request.open_store()
    with announced(store):
        told = decide.rollback(store, request.adapter, because=request.because)
    return _ended(store, told, request.mlflow)


def _asked(store: Store, request: Promote) -> str:
    """Ask a person, and do as they say. The adapter is in the form: by the time of the answer another may wait."""
    form: type[Approval] = Approval
    if not _resumed():
        adapter = candidate(store, request.adapter)
        about = decide.described(store, adapter)
        ui_artifacts.markdown(about, key="approval", description="What waits for approval")
        form = Approval.with_initial_data(description=about, adapter=f"{adapter.step}/{adapter.key}")
    answer = suspend_flow_run(wait_for_input=form, key="approval")
    if not answer.approve:
        return decide.refuse(store, answer.adapter, because=answer.reason, approver=answer.name)
    return decide.promote(store, answer.adapter, because=answer.reason, force=request.force, approver=answer.name)


def _resumed() -> bool:
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.run_count > 1)


def _ended(store: Store, told: str, mlflow: str | None) -> State[str]:
    if mlflow:
        from flows.promotion.registry import mirrored

        told += mirrored(store, mlflow)
    ui_artifacts.markdown(markdown(versions(store)), key=SERVED, description="Adapters by what became of them")
    return Completed(message=told, data=told)


def settle_and_ask(store: Store, config: PromotionConfig, outcome: Settled, *, cache: str | None = None) -> str:
    """`settle`, and where a person is to approve start the deployment that asks; once for each adapter and gate."""
    told = settle(store, config, outcome)
    challenger = store.promotions.state.challenger
    waits = challenger is not None and store.promotions.is_same(challenger, outcome.adapter)
    if config.asks and config.deployment and waits and decided(outcome.gate).decision == "promote":
        request = Promote(
            store=store.url,
            cache=str(Path(cache).resolve()) if cache else None,
            adapter=f"{outcome.adapter.step}/{outcome.adapter.key}",
            approval=True,
            mlflow=config.mlflow,
        )
        _start(config.deployment, request, once=f"{outcome.adapter.key}-{outcome.gate.key}")
    return told


def _start(deployment: str, request: Promote, once: str) -> None:
    """Start the deployment, unless it was for this key. UserError if the Prefect server has none of that name."""
    given = {"request": request.model_dump(mode="json")}
    try:
        run_deployment(deployment, parameters=given, timeout=0, as_subflow=False, idempotency_key=once)
    except ObjectNotFound:
        raise UserError(
            f"promotion.deployment: the server at {PREFECT_API_URL.value() or 'no address'} has no {deployment}",
            "deploy it, or set PREFECT_API_URL to the server that has it; `reground retrain` then asks",
        ) from None
