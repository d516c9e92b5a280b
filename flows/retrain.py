"""The retraining pipeline as a Prefect flow: what a schedule, the UI, an event or the terminal starts."""

from contextvars import ContextVar

import orjson
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.config import TINY, Retrain, load
from flows.pipeline import pipeline
from flows.promote import settle_and_ask
from flows.roots import refuse_outside
from flows.versions import markdown, versions
from tasks.reporting import history
from tasks.versioning.as_task import TaskRunner, Tell, silent
from tasks.versioning.lineage import lineage
from tasks.versioning.runner import Runner

SAMPLE = load(TINY)
AND_SO = " → "  # in the state message, between what the adapter is worth and what became of it
TELL: ContextVar[Tell] = ContextVar("tell", default=silent)  # the terminal sets it, to watch the steps


@flow(name="retrain", flow_run_name="retrain {config.name}", validate_parameters=True)
def retrain(config: Retrain = SAMPLE) -> State[str]:
    """Validate, build, train, export, answer, score and report; each step only if something it is made from changed.

    The run's state message is the report's headline and what became of the adapter, and its result is the report's
    folder.
    """
    return run(config)


def run(config: Retrain) -> State[str]:
    """The body of the flow. Apart, because Prefect pickles a flow's own function for the workers, `TELL` and all."""
    refuse_outside(config)
    store = config.open_store()
    runner = Runner(config.runner, address=config.runner_address, workers=config.workers)
    with runner as spread, store.log_run(config.name) as log:
        outcome = pipeline(config, TaskRunner(store, name=config.name, tell=TELL.get(), spread=spread, log=log))
    report = orjson.loads((outcome.report.folder / "report.json").read_bytes())
    summary = (outcome.report.folder / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(summary, key="comparison", description="Base against tuned")
    chart = lineage(outcome.report).mermaid()
    create_markdown_artifact(f"```mermaid\n{chart}\n```", key="lineage", description="What the report was made from")
    settled = settle_and_ask(store, config.promotion, outcome, cache=config.cache)
    served = f"{markdown(versions(store))}\n{history.markdown([e.plain() for e in store.promotions.entries()])}"
    create_markdown_artifact(served, key="versions", description="Adapters by what became of them")
    return Completed(message=f"{report['headline']}{AND_SO}{settled}", data=str(outcome.report.folder))
