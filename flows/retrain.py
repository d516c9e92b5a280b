"""The retraining pipeline as a Prefect flow: what a schedule, the UI, an event or the terminal starts."""

from pathlib import Path

import orjson
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.config import TINY, Retrain, load
from flows.pipeline import pipeline
from tasks.versioning.as_task import TaskRunner, Tell, silent
from tasks.versioning.store import Store

SAMPLE = load(TINY)


@flow(name="retrain", flow_run_name="retrain {config.name}", validate_parameters=True)
def retrain(config: Retrain = SAMPLE) -> State[str]:
    """Validate, build, train, export, answer, score and report; each step only if something it is made from changed.

    The run's state message is the report's headline, and its result is the report's folder.
    """
    return run(config)


def run(config: Retrain, tell: Tell = silent) -> State[str]:
    """The body of the flow, apart so that the terminal can watch the steps."""
    outcome = pipeline(config, TaskRunner(Store(Path(config.store)), tell=tell))
    report = orjson.loads((outcome.report.folder / "report.json").read_bytes())
    summary = (outcome.report.folder / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(summary, key="comparison", description="Base against tuned")
    return Completed(message=report["headline"], data=str(outcome.report.folder))
