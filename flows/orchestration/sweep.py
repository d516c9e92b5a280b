"""What the flow of a sweep does: trial after trial, each a flow run of its own, then the table."""

from typing import Any

import orjson
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.config import Retrain
from flows.orchestration import ui_artifacts
from flows.orchestration.run import ON_STEP, run_pipeline
from flows.orchestration.stopping import as_its_state_says
from flows.orchestration.task_runner import retry_transient
from flows.settings import refuse_outside
from flows.sweeps.outcome import Outcome, Row, markdown
from flows.sweeps.search import Search
from flows.sweeps.trials import distinct, plans, proposed, scales
from tasks.engine.errors import Unreachable, UserError
from tasks.engine.plan import Planned
from tasks.evaluation.gating.decision import Decision


def run(search: Search) -> State[dict[str, Any]]:
    """All mistakes in the settings are reported before the first trial begins."""
    with as_its_state_says():
        return _run(search)


def _run(search: Search) -> State[dict[str, Any]]:
    for group in distinct(search):
        for each in group:
            refuse_outside(each.config)
        plans(group)
    logger = get_run_logger()
    for scale in scales(search):
        logger.info("%s", scale)
    rows: list[Row] = []
    for each in proposed(search, rows):
        try:
            refuse_outside(each.config)
            figures = trial(each.name, each.config)
        except Unreachable:  # not the trial's fault: the others would fail as well
            raise
        except UserError as error:
            logger.warning("%s failed: %s", each.name, error)
            rows.append(Row(each.number, each.settings, error=str(error)))
        else:
            rows.append(Row(each.number, each.settings, **figures))
    outcome = Outcome(rows)
    ui_artifacts.markdown(markdown(outcome), key="sweep", description="Trials by their settings, and the best")
    if outcome.failed:
        raise UserError(f"all {len(rows)} trials failed; the first: {rows[0].error}", "mend that, and run it again")
    return Completed(message=outcome.headline, data=outcome.plain())


@flow(name="trial", flow_run_name="{name}", validate_parameters=False)
def trial(name: str, config: Retrain) -> dict[str, Any]:
    """Run the pipeline as a retraining does, but promote nothing; returns the fields of the trial's `Row`.

    Raises UserError if it fails because of something that a user can mend.
    """
    with ui_artifacts.in_background():
        return retry_transient(lambda: _figures(config))


def _figures(config: Retrain) -> dict[str, Any]:
    show = ON_STEP.get()
    done: dict[str, Planned] = {}

    def on_step(step: Planned, finished: bool) -> None:
        show(step, finished)
        if finished:
            done[step.label] = step

    name = f"{config.name} sweep"  # a plan of the config itself goes on comparing with its own last run
    outcome = run_pipeline(config, config.open_store(), name=name, on_step=on_step)
    training = done["train"].artifact
    assert training is not None
    gate = Decision.read(outcome.gate.folder / "gate.json")
    summary = orjson.loads((training.local() / "report.json").read_bytes())
    inputs = training.record.payload["inputs"]
    ran = [step for step in done.values() if step.status != "fresh"]
    return {
        "heldout_loss": summary["held_out_loss_after"],
        "measured_on": [inputs["heldout"], inputs["base"]],
        "metrics": [
            {"name": each.name, "label": each.label, "direction": each.direction, **each.figures["tuned"].model_dump()}
            for each in gate.comparisons["base"] or ()
            if each.primary
        ],
        "decision": gate.decision,
        "why": gate.why,
        "seconds": round(sum(step.seconds or 0.0 for step in ran), 3),
        "ran": [step.label for step in ran],
        "cached": [step.label for step in done.values() if step.status == "fresh"],
        "adapter": outcome.adapter.about,
    }
