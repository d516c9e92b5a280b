"""What the flow of a sweep does: trial after trial, then the table."""

from typing import Any

import orjson
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.config import Retrain
from flows.roots import refuse_outside
from flows.run import TELL, made
from flows.sweep import Sweep, trial
from flows.sweep_engines import contrasts, proposed
from flows.sweep_grid import looks
from flows.sweep_optuna import scales
from flows.sweep_outcome import Outcome, Row, markdown
from tasks.errors import Unreachable, UserError
from tasks.versioning import shown
from tasks.versioning.as_task import patiently
from tasks.versioning.plan import Planned


def run(request: Sweep) -> State[dict[str, Any]]:
    """All mistakes of the settings are told before the first trial begins."""
    for group in contrasts(request):
        for each in group:
            refuse_outside(each.config)
        looks(group)
    logger = get_run_logger()
    for scale in scales(request):
        logger.info("%s", scale)
    rows: list[Row] = []
    for each in proposed(request, rows):
        try:
            refuse_outside(each.config)
            figures = trial(each.name, each.config)
        except Unreachable:  # of no trial's making: the others would fail of it, too
            raise
        except UserError as error:
            logger.warning("%s failed: %s", each.name, error)
            rows.append(Row(each.number, each.settings, error=str(error)))
        else:
            rows.append(Row(each.number, each.settings, **figures))
    outcome = Outcome(rows)
    shown.markdown(markdown(outcome), key="sweep", description="Trials by their settings, and the best")
    if outcome.failed:
        raise UserError(f"all {len(rows)} trials failed; the first: {rows[0].error}", "mend that, and run it again")
    return Completed(message=outcome.headline, data=outcome.plain())


def run_trial(config: Retrain) -> dict[str, Any]:
    """The pipeline as a retraining runs it, but that nothing is promoted; the fields of a `Row`."""
    with shown.meanwhile():
        return patiently(lambda: _run_trial(config))


def _run_trial(config: Retrain) -> dict[str, Any]:
    told = TELL.get()
    done: dict[str, Planned] = {}

    def note(step: Planned, finished: bool) -> None:
        told(step, finished)
        if finished:
            done[step.label] = step

    name = f"{config.name} sweep"  # a plan of the config itself goes on comparing with its own last run
    outcome = made(config, config.open_store(), name=name, tell=note)
    training = done["train"].artifact
    assert training is not None
    gate = orjson.loads((outcome.gate.folder / "gate.json").read_bytes())
    summary = orjson.loads((training.local() / "report.json").read_bytes())
    inputs = training.record["payload"]["inputs"]
    ran = [step for step in done.values() if step.status != "fresh"]
    return {
        "heldout_loss": summary["held_out_loss_after"],
        "measured_on": [inputs["heldout"], inputs["base"]],
        "metrics": [
            {"name": each["name"], "label": each["label"], "direction": each["direction"], **each["tuned"]}
            for each in gate["comparisons"]["base"]
            if each["primary"]
        ],
        "decision": gate["decision"],
        "why": gate["why"],
        "seconds": round(sum(step.seconds or 0.0 for step in ran), 3),
        "ran": [step.label for step in ran],
        "cached": [step.label for step in done.values() if step.status == "fresh"],
        "adapter": outcome.adapter.about,
    }
