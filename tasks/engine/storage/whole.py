"""An artifact of which every byte is needed as it was published."""

from typing import TYPE_CHECKING

from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import SHORT, Artifact

if TYPE_CHECKING:
    from tasks.engine.storage.store import Store

AGAIN = "run again the retraining that made it"


class NotWhole(UserError):
    """The artifact is gone or flawed."""


def whole(store: "Store", step: str, key: str, *, wanted: str = "", instead: str = AGAIN) -> Artifact:
    """The artifact. NotWhole if it is gone or flawed: what it was `wanted` for, what to do `instead`."""
    found = store.find(step, key)
    if not found:
        raise NotWhole(
            f"{wanted}{step}/{key[:SHORT]} is not whole: {store.flaw(step, key)}",
            f"restore it from a backup, or {instead}",
        )
    return found
