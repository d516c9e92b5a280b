"""The retraining pipeline as a Prefect flow: what a schedule, the UI, an event or the terminal starts."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.deployed import CONFIG, Config


@flow(name="retrain", validate_parameters=True)
def retrain(config: Config = CONFIG, because: str = "") -> State[dict[str, str]]:
    """Validate, build, train, export, answer, score and report; each step only if something it is made from changed.

    The run's state message is the report's headline and what was done with the adapter; its result has both: the
    report's folder as `report`, and `promotion`.

    Args:
        config: What to make, from what, and how; what it leaves out is as the deployment's config says.
        because: Why the run was started, for its log and the records of what it makes; an event says which data came.
    """
    # In a module of its own, because Prefect pickles a flow's function for the workers with all that it names; and
    # imported here, because a flow ends on a whole second after its start (Prefect's heartbeat waits so long), so that
    # what is imported before it costs time, and in it none.
    from flows.orchestration.run import run

    return run(config, because)
