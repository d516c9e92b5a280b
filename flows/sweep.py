"""A sweep as a Prefect flow: the retraining pipeline once for each combination of settings, with nothing made twice."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.deployed import CONFIG, Config
from flows.sweeps.search import Search


class Sweep(Search):
    """What to vary, what stays, and how to choose the trials."""

    config: Config = Field(CONFIG, description="What is the same in every trial.")


OURS = Sweep()


@flow(name="sweep", flow_run_name="sweep {request.config.name}", validate_parameters=True)
def sweep(request: Sweep = OURS) -> State[dict[str, Any]]:
    """Run the pipeline for every combination of the values, or for those that Optuna chooses; promote nothing.

    Each trial is a flow run below this one. What trials have in common (validation, the dataset, the base's answers) is
    made once; a sweep that was interrupted goes on where it was. A trial that fails has its error in its row, and the
    others go on. The state message names the best by held-out loss; the run's result is the table.
    """
    from flows.orchestration.sweep import run  # here, as in flows.retrain

    return run(request)
