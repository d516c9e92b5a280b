"""Upkeep of the store as a Prefect flow: free what nothing needs, then read every byte that stays."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from flows.deployed import Request
from flows.orchestration import ui_artifacts
from flows.orchestration.task_runner import retry_transient
from flows.promotion.upkeep import check, collect
from flows.settings import refuse_outside
from tasks.engine.storage.gc import DAY


class Maintain(Request):
    """What may go, and whether to check the rest."""

    delete: bool = Field(False, description="Remove what may go. Without this, only say what would.")
    older_than_days: NonNegativeFloat = Field(14, description="Whatever is younger stays.")
    keep_runs: NonNegativeInt = Field(10, description="How many of the newest runs keep what they used.")
    fsck: bool = Field(True, description="Read every byte, and mend or take out of use what is damaged.")


OURS = Maintain()


@flow(name="maintain", flow_run_name="maintain {request.project}", validate_parameters=True)
def maintain(request: Maintain = OURS) -> State[str]:
    """Free the space of what no alias, adapter or recent run needs, and verify the rest.

    Completed if everything is intact or was mended; Failed if a problem stays. The state message says what was found.
    """
    refuse_outside(request)
    return retry_transient(lambda: _maintained(request))


def _maintained(request: Maintain) -> State[str]:
    store = request.open_store()
    found = collect(store, older_than=request.older_than_days * DAY, keep_runs=request.keep_runs, delete=request.delete)
    findings = list(check(store)) if request.fsck else []
    freed = f"{found.freed / 2**20:.1f} MiB {'freed' if request.delete else 'would be freed'}"
    checked = f"{len(findings)} problems" if findings else "everything is intact" if request.fsck else "not checked"
    gone = (item for item in found.items if not item.keep and item.kind != "blob")
    lines = [f"# {freed}; {checked}"]
    lines += [f"- {item.kind} {item.name}: {item.why}" for item in gone]
    lines += [f"- {each.where}: {each.problem}; {each.done}" for each in findings]
    ui_artifacts.markdown("\n".join(lines), key="maintenance", description="What was freed, and what was damaged")
    message = f"{freed}; {checked}"
    if all(each.mended for each in findings):
        return Completed(message=message, data=message)
    return Failed(message=f"{message}, and not all could be mended; see `reground fsck`")
