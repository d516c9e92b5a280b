"""A sweep as a Prefect flow: the retraining pipeline once for each combination of settings, with nothing made twice."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.config import Retrain
from flows.retrain import SAMPLE
from tasks.versioning import Config


class Sweep(Config):
    """What to vary, and what stays."""

    config: Retrain = Field(SAMPLE, description="What is the same in every trial.")
    over: dict[str, list[Any]] = Field(
        {"train.lora.r": [8, 16]}, description="The values of each setting; every combination is a trial."
    )


OURS = Sweep()


@flow(name="sweep", flow_run_name="sweep {request.config.name}", validate_parameters=True)
def sweep(request: Sweep = OURS) -> State[dict[str, Any]]:
    """Run the pipeline for every combination of the values, each trial a flow run below this one; promote nothing.

    What trials have in common (validation, the dataset, the base's answers) is made once; a sweep that was interrupted
    goes on where it was. A trial that fails is told in its row and ends no other. The state message names the best by
    held-out loss; the run's result is the table.
    """
    from flows.sweep_run import run  # here, as in flows.retrain

    return run(request)


@flow(name="trial", flow_run_name="{name}", validate_parameters=False)
def trial(name: str, config: Retrain) -> dict[str, Any]:
    """One trial of a sweep; its figures. Raises UserError if it fails of what a user can mend."""
    from flows.sweep_run import run_trial

    return run_trial(config)
