"""What the flow of a retraining does: name its run, make what is stale, show it, decide about the adapter."""

import re
from contextvars import ContextVar
from io import StringIO
from typing import Any

import orjson
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import deployment
from prefect.states import Completed
from rich.console import Console

from flows.cli import tables as display
from flows.config import Retrain
from flows.deployed import differences
from flows.orchestration import ui_artifacts
from flows.orchestration.mappers import Runner
from flows.orchestration.stopping import as_its_state_says
from flows.orchestration.task_runner import OnStep, TaskRunner, no_display, retry_transient
from flows.pipeline import Outcome, pipeline, planned
from flows.promote import announced, apply_and_ask
from flows.promotion.decisions import PromotionConfig
from flows.promotion.versions import versions
from flows.promotion.view import STATES, decided, history_entries, sentence, versions_markdown
from flows.settings import refuse_outside
from flows.wording import RunName, in_short, mermaid, run_name
from tasks.engine.errors import UserError, WiringError
from tasks.engine.lineage import lineage
from tasks.engine.plan import Planner
from tasks.engine.progress import watched_by
from tasks.engine.storage.store import Artifact, Store
from tasks.reporting import history

ON_STEP: ContextVar[OnStep] = ContextVar("on_step", default=no_display)  # the terminal sets it, to show the steps
STAR = re.compile(  # nu5-altair-h, as Prefect's form names a run
    "(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    r"|psi|omega)\d*-[a-z]+(-[a-z])?"
)
Retrained = dict[str, str]  # "report", "promotion": the report's folder, and what was done with the adapter


def run(config: Retrain, because: str = "") -> State[Retrained]:
    """It may be done again: what is finished is found in the store."""
    if deployment.id:
        found = in_short(differences(config), 12)
        get_run_logger().info("differs from the deployment's config: %s", found or "in nothing")
    if because:
        get_run_logger().info("started because %s", because)
    refuse_outside(config)
    planner = _planned(config)
    with as_its_state_says(), ui_artifacts.in_background(), watched_by(ui_artifacts.PrefectWatcher()):
        _name(config, planner)
        state, decision = retry_transient(lambda: _run(config, because, planner))
    # After all others: Prefect lists the newest first.
    ui_artifacts.markdown(decision, key="decision", description="What became of the adapter, and why")
    return state


def _run(config: Retrain, because: str, planner: Planner | None) -> tuple[State[Retrained], str]:
    store = config.open_store()
    outcome = run_pipeline(config, store, name=config.name, on_step=ON_STEP.get(), because=because, planner=planner)
    report = orjson.loads((outcome.report.folder / "report.json").read_bytes())
    summary = (outcome.report.folder / "report.md").read_text(encoding="utf-8")
    ui_artifacts.markdown(summary, key="comparison", description="Base against tuned")
    ui_artifacts.markdown(_origins(outcome.report), key="lineage", description="What the report was made from")
    with announced(store):
        decision = apply_and_ask(store, _asked_by_its_own(config.promotion), outcome, cache=config.cache)
    served = f"{versions_markdown(versions(store))}\n{history.markdown(history_entries(store))}"
    ui_artifacts.markdown(served, key="versions", description="Adapters by what became of them")
    became = sentence(decision)
    result: Retrained = {"report": str(outcome.report.folder), "promotion": became}
    name, headline = STATES[decision.outcome], report["headline"]
    message = f"{became} {headline}" if decision.outcome == "waiting" else f"{headline} → {became}"
    return Completed(name=name, message=message, data=result), decided(store, decision, headline)


def _asked_by_its_own(promotion: PromotionConfig) -> PromotionConfig:
    """Where a person is to approve and no deployment is named, that of the project of this run's deployment."""
    name = deployment.name
    if promotion.mode != "approve" or promotion.deployment or not name:
        return promotion
    return promotion.model_copy(update={"deployment": f"promote/{'promote' if name == 'retrain' else name}"})


def run_pipeline(config: Retrain, store: Store, *, name: str, **options: Any) -> Outcome[Artifact]:
    """Run the pipeline with the options of `TaskRunner`, log the run as `name`'s, and show its steps."""
    runner = Runner(config.runner, address=config.runner_address, workers=config.workers)
    with runner as mapper, store.log_run(name) as log:
        steps = TaskRunner(store, name=name, mapper=mapper, log=log, **options)
        outcome = pipeline(config, steps)
    ui_artifacts.markdown(
        steps.steps(), key="steps", description="Each step: cached or not, which artifact, and why it is"
    )
    return outcome


def _origins(report: Artifact) -> str:
    """As a tree, which every UI shows, and as a chart, which Prefect's newer one draws."""
    found = lineage(report)
    tree = Console(width=120, file=StringIO(), record=True)
    display.lineage(tree, found)
    return f"```text\n{tree.export_text()}```\n\n```mermaid\n{mermaid(found)}\n```"


def _planned(config: Retrain) -> Planner | None:
    """What the run is going to do; None if it cannot be planned: then it fails further on, with the reason.

    Raises WiringError, so that a mistake in the pipeline costs no training.
    """
    try:
        return planned(config)[0]
    except WiringError:
        raise
    except UserError:
        return None


def _is_generated(name: str) -> bool:
    """Whether Prefect has named the run, imposing-skunk, and no person."""
    from coolname.data import config

    lists: Any = config
    words = {word for each in lists.values() for word in each.get("words", ())}
    return bool(STAR.fullmatch(name)) or (name.count("-") == 1 and words.issuperset(name.split("-")))


def _name(config: Retrain, planner: Planner | None) -> None:
    """Name the run by what changed, unless somebody has named it; tag it."""
    context = FlowRunContext.get()
    if not (context and context.flow_run):
        return
    run = context.flow_run
    found = run_name(config, planner) if planner else RunName(f"retrain {config.name}", [config.name])
    if _is_generated(run.name):
        run.name = found.name
    run.tags = sorted({*run.tags, *found.tags})

    def rename() -> None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, name=run.name, tags=run.tags)

    ui_artifacts.send(rename)
