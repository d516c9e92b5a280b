"""Prefect flows that put an adapter into service and take it out again, with a person's approval where that is wanted.

The retraining flow decides about its own adapter (`apply_and_ask`); these flows are for whoever decides: from the UI,
by a schedule or an automation, or asked by a retraining whose `promotion.mode` is approve.

What became of an adapter is announced as an event that automations act upon: adapter.promoted, adapter.refused,
adapter.undecided, adapter.rolled-back, each about `reground.adapter.<first digits of the key>`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed
from pydantic import Field

from flows.deployed import CONFIG, Request
from flows.orchestration import flow_run_id, ui_artifacts
from flows.orchestration.task_runner import retry_transient
from flows.promotion import decisions
from flows.promotion.decisions import (
    AdapterOutcome,
    PromotionConfig,
    Retrained,
    apply_decision,
    candidate,
    followed,
)
from flows.promotion.log import Entry
from flows.promotion.promotions import Promotions
from flows.promotion.versions import versions
from flows.promotion.view import STATES, approval_form, sentence, versions_markdown
from flows.serving.swap import ServingConfig
from flows.settings import refuse_outside
from tasks.engine import Text
from tasks.engine.errors import UserError
from tasks.engine.storage.store import SHORT, Store

EVENTS = {
    "promote": "adapter.promoted",
    "refuse": "adapter.refused",
    "rollback": "adapter.rolled-back",
    "challenge": "adapter.undecided",
}


class Promote(Request):
    """What to promote, and on whose word."""

    adapter: Text | None = Field(None, description="Key or alias of an export artifact; without it the challenger.")
    because: Text = Field("", description="Why; without it the gate's own reason.")
    force: bool = Field(False, description="Promote against the gate, or what was rolled back. Needs a reason.")
    approval: bool = Field(False, description="Suspend this run until a person has approved, by its form.")
    mlflow: Text | None = Field(
        CONFIG.promotion.mlflow, description="Registered model of MLflow to mirror champion and previous to."
    )
    serving: ServingConfig = CONFIG.promotion.serving


class Rollback(Request):
    """What to take out of service, and why."""

    because: Text = Field(..., min_length=1, description="Why; it stays in the promotion log.")
    adapter: Text | None = Field(None, description="Key or alias of the adapter to take out; without it the champion.")
    mlflow: Text | None = Field(
        CONFIG.promotion.mlflow, description="Registered model of MLflow to mirror champion and previous to."
    )
    serving: ServingConfig = CONFIG.promotion.serving


class Approval(RunInput):
    """What the person who decides fills in."""

    approve: bool = Field(description="Put this adapter into service.")
    reason: str = Field(min_length=1, description="Why, or why not; it stays in the promotion log.")
    name: str = Field(min_length=1, description="Who decides.")
    adapter: str = Field(description="The adapter that this is about.")


CHALLENGER = Promote()


@flow(name="promote", flow_run_name="promote {request.project}", validate_parameters=True)
def promote(request: Promote = CHALLENGER) -> State[str]:
    """Put an adapter into service, if its gate says so; with `approval`, only once a person has approved.

    The state message gives the outcome. A run that waits for approval is suspended and needs no worker; resumed, it
    goes on from the top.
    """
    refuse_outside(request)
    return retry_transient(lambda: _promoted(request))


@flow(name="rollback", flow_run_name="rollback {request.project}", validate_parameters=True)
def rollback(request: Rollback) -> State[str]:
    """Take the champion out of service and bring back the adapter before it. The state message gives the outcome."""
    refuse_outside(request)
    return retry_transient(lambda: _rolled_back(request))


# Each of these may be repeated: nothing is entered into the promotion log twice.


def _promoted(request: Promote) -> State[str]:
    store = request.open_store()
    with announced(store):
        if request.approval:
            decision = _ask(store, request)
        else:
            decision = decisions.promote(
                store,
                request.adapter,
                because=request.because,
                force=request.force,
                public_key=request.serving.public_key,
            )
        return _ended(store, decision, request)


def _rolled_back(request: Rollback) -> State[str]:
    store = request.open_store()
    with announced(store):
        return _ended(store, decisions.rollback(store, request.adapter, because=request.because), request)


def _ask(store: Store, request: Promote) -> AdapterOutcome:
    """Ask a person and do what they say. The form names the adapter: another may wait by the time of the answer."""
    form: type[Approval] = Approval
    context = FlowRunContext.get()
    resumed = bool(context and context.flow_run and context.flow_run.run_count > 1)
    if not resumed:
        adapter = candidate(store, request.adapter)
        about = approval_form(store, adapter)
        ui_artifacts.markdown(about, key="approval", description="What waits for approval")
        form = Approval.with_initial_data(description=about, adapter=f"{adapter.step}/{adapter.key}")
    answer = suspend_flow_run(wait_for_input=form, key="approval")
    if not answer.approve:
        return decisions.refuse(store, answer.adapter, because=answer.reason, approver=answer.name)
    return decisions.promote(
        store,
        answer.adapter,
        because=answer.reason,
        force=request.force,
        approver=answer.name,
        public_key=request.serving.public_key,
    )


def _ended(store: Store, decision: AdapterOutcome, request: Promote | Rollback) -> State[str]:
    decision = followed(store, decision, request.mlflow, request.serving)
    message = sentence(decision)
    ui_artifacts.markdown(
        versions_markdown(versions(store)), key="versions", description="Adapters by what became of them"
    )
    return Completed(name=STATES[decision.outcome], message=message, data=message)


def apply_and_ask(
    store: Store, config: PromotionConfig, result: Retrained, *, cache: str | None = None
) -> AdapterOutcome:
    """`apply_decision`, and where a person is to approve, start the deployment that asks; once per adapter and gate."""
    decision = apply_decision(store, config, result)
    if decision.outcome == "waiting" and config.asks and config.deployment:
        request = Promote(
            store=store.url,
            cache=str(Path(cache).resolve()) if cache else None,
            project=store.project,
            adapter=f"{result.adapter.step}/{result.adapter.key}",
            approval=True,
            mlflow=config.mlflow,
            serving=config.serving,
        )
        _start(config.deployment, request, once=f"{store.project}-{result.adapter.key}-{result.gate.key}")
    return decision


def _start(deployment: str, request: Promote, once: str) -> None:
    """Start the deployment, unless it was for this key. UserError if the Prefect server has none of that name."""
    parameters = {"request": request.model_dump(mode="json")}
    try:
        run_deployment(deployment, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=once)
    except ObjectNotFound:
        raise UserError(
            f"promotion.deployment: the server at {PREFECT_API_URL.value() or 'no address'} has no {deployment}",
            "deploy it, or set PREFECT_API_URL to the server that has it; `reground retrain` then asks",
        ) from None


@contextmanager
def announced(store: Store) -> Iterator[None]:
    """Announce what this flow run enters into the promotion log meanwhile; a server that is away is no failure."""
    promotions = Promotions(store)
    before = len(promotions.entries())
    yield
    try:
        for entry in promotions.entries()[before:]:
            if entry.by.get("flow_run") == flow_run_id() and (event := event_of(entry)):
                _emit(store, entry, event)
    except Exception as error:
        get_run_logger().warning("What became of the adapter could not be announced: %s", error)


def event_of(entry: Entry) -> str | None:
    """None for an adapter that the gate would promote, and that waits for a person."""
    return None if entry.action == "challenge" and entry.decision == "promote" else EVENTS[entry.action]


def _emit(store: Store, entry: Entry, event: str) -> None:
    from prefect.events import emit_event  # .04 s, and most runs have nothing to announce

    emit_event(
        event,
        resource={
            "prefect.resource.id": f"reground.adapter.{entry.version.key[:SHORT]}",
            "prefect.resource.name": entry.about,
        },
        payload={"why": entry.why, "project": store.project, "store": store.url, "who": entry.who},
    )
