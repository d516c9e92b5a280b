"""One trial of a sweep: the pipeline as a retraining runs it, but that nothing is promoted."""

from typing import Any

import orjson
from prefect import flow

from flows.config import Retrain
from flows.orchestration import ui_artifacts
from flows.orchestration.run import ON_STEP, made
from flows.orchestration.task_runner import retry_transient
from tasks.engine.plan import Planned


@flow(name="trial", flow_run_name="{name}", validate_parameters=False)
def trial(name: str, config: Retrain) -> dict[str, Any]:
    """The fields of the trial's `Row`. Raises UserError if it fails of what a user can mend."""
    with ui_artifacts.in_background():
        return retry_transient(lambda: _figures(config))


def _figures(config: Retrain) -> dict[str, Any]:
    on_step = ON_STEP.get()
    done: dict[str, Planned] = {}

    def note(step: Planned, finished: bool) -> None:
        on_step(step, finished)
        if finished:
            done[step.label] = step

    name = f"{config.name} sweep"  # a plan of the config itself goes on comparing with its own last run
    outcome = made(config, config.open_store(), name=name, on_step=note)
    training = done["train"].artifact
    assert training is not None
    gate = orjson.loads((outcome.gate.folder / "gate.json").read_bytes())
    summary = orjson.loads((training.local() / "report.json").read_bytes())
    inputs = training.record.payload["inputs"]
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
