"""Upkeep of the store as a Prefect flow: free what nothing needs, then read every byte that stays."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from flows.orchestration import ui_artifacts
from flows.retrain import SAMPLE
from flows.settings import StoreConfig, refuse_outside
from tasks.engine.storage.fsck import check
from tasks.engine.storage.gc import DAY, Collected, collect


class Maintain(StoreConfig):
    """What may go, and whether to look at the rest."""

    delete: bool = Field(False, description="Remove what may go. Without this, only say what would.")
    older_than_days: NonNegativeFloat = Field(14, description="Whatever is younger stays.")
    keep_runs: NonNegativeInt = Field(10, description="How many of the newest runs keep what they used.")
    fsck: bool = Field(True, description="Read every byte, and mend or take out of use what is harmed.")


OURS = Maintain(store=SAMPLE.store, cache=SAMPLE.cache)


@flow(name="maintain", validate_parameters=True)
def maintain(request: Maintain = OURS) -> State[str]:
    """Free the space of what no alias, adapter or recent run needs, and verify the rest.

    Completed if all is whole or was mended; Failed if a flaw stays. The state message tells what was found.
    """
    refuse_outside(request)
    store = request.open_store()
    found = collect(store, older_than=request.older_than_days * DAY, keep_runs=request.keep_runs, delete=request.delete)
    flaws = list(check(store)) if request.fsck else []
    freed = f"{found.freed / 2**20:.1f} MiB {'freed' if request.delete else 'would be freed'}"
    told = f"{freed}; {len(flaws)} flaws" if flaws else f"{freed}; {'all is whole' if request.fsck else 'not checked'}"
    lines = [f"# {told}", *_gone(found), *(f"- {each.where}: {each.flaw}; {each.done}" for each in flaws)]
    ui_artifacts.markdown("\n".join(lines), key="maintenance", description="What was freed, and what was harmed")
    if all(each.mended for each in flaws):
        return Completed(message=told, data=told)
    return Failed(message=f"{told}, and not all could be mended; see `reground fsck`")


def _gone(found: Collected) -> list[str]:
    return [f"- {item.kind} {item.name}: {item.why}" for item in found.items if not item.keep and item.kind != "blob"]
