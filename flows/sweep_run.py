"""What the flow of a sweep does: trial after trial, then the table."""

from typing import Any

import orjson
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.config import Retrain
from flows.pipeline import pipeline
from flows.roots import refuse_outside
from flows.run import TELL
from flows.sweep import Sweep, trial
from flows.sweep_grid import looks, trials
from flows.sweep_outcome import Outcome, Row, markdown
from tasks.errors import Unreachable, UserError
from tasks.versioning import shown
from tasks.versioning.as_task import TaskRunner, patiently
from tasks.versioning.plan import Planned
from tasks.versioning.runner import Runner


def run(request: Sweep) -> State[dict[str, Any]]:
    """All mistakes of the settings are told before the first trial begins."""
    grid = trials(request.config, request.over)
    for each in grid:
        refuse_outside(each.config)
    looks(grid)
    rows = []
    for each in grid:
        try:
            figures = trial(each.name, each.config)
        except Unreachable:  # of no trial's making: the others would fail of it, too
            raise
        except UserError as error:
            get_run_logger().warning("%s failed: %s", each.name, error)
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
    store, told = config.open_store(), TELL.get()
    done: dict[str, Planned] = {}

    def note(step: Planned, finished: bool) -> None:
        told(step, finished)
        if finished:
            done[step.label] = step

    name = f"{config.name} sweep"  # a plan of the config itself goes on comparing with its own last run
    runner = Runner(config.runner, address=config.runner_address, workers=config.workers)
    with runner as spread, store.log_run(name) as log:
        steps = TaskRunner(store, name=name, spread=spread, tell=note, log=log)
        outcome = pipeline(config, steps)
    shown.markdown(steps.steps(), key="steps", description="Each step: cached or not, which artifact, and why it is")
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
