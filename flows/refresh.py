"""Announce data that changed: the event dataset.refreshed, on which a retraining is run.

The event says which content was found (`digest`), so that a run can say what it was started for; what it trains on is
whatever is newest when it starts.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Self
from uuid import uuid4

import orjson
from httpx import HTTPError
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Completed
from pydantic import BeforeValidator, Field

from flows.config import DataConfig, Retrain
from flows.deployed import CONFIG, Request, completed
from flows.orchestration.task_runner import retry_transient
from flows.settings import refuse_outside
from flows.sources import triplets
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.storage.store import SHORT

EVENT = "dataset.refreshed"
RESOURCE = "reground.dataset."  # and the project


class Refresh(Request):
    """Whose data to look at; the event is of the resource reground.dataset.PROJECT."""

    data: DataConfig = DataConfig()
    force: bool = Field(False, description="Announce the data even if it has not changed.")

    @classmethod
    def of(cls, config: Retrain, *, force: bool = False) -> Self:
        return cls(data=config.data, store=config.store, cache=config.cache, project=config.project, force=force)


class Announced(NamedTuple):
    """The payload of the event, None if nothing had changed; and one line for people."""

    payload: dict[str, Any] | None
    text: str


DEFAULT = Refresh.of(CONFIG)


@flow(name="refresh", flow_run_name="refresh {request.project}", validate_parameters=True)
def refresh(
    request: Annotated[Refresh, BeforeValidator(lambda given: completed(given, DEFAULT))] = DEFAULT,
) -> State[str]:
    """Emit dataset.refreshed if the data is not what was last announced. The state message says what was found."""
    refuse_outside(request)
    announced = retry_transient(lambda: announce(request))
    return Completed(message=announced.text, data=announced.text)


def announce(request: Refresh) -> Announced:
    """Emit the event if the data's content differs from what was last announced from this store.

    The store notes it only once the server has taken the event: asked again after a failure, it is emitted again.
    Raises UserError if the data cannot be read or the server cannot be reached.
    """
    objects, place = request.open_store().objects, f".refreshed/{request.project}.json"
    sources = {"train": request.data.train, "evaluation": request.data.evaluation}
    parts = {name: triplets(source).digest if source else None for name, source in sources.items()}
    digest = sha256_json(parts)
    content = objects.read(place)
    before: dict[str, Any] = orjson.loads(content) if content else {}
    if before.get("digest") == digest and not request.force:
        return Announced(None, f"{request.project}: unchanged since {before['at']} ({digest[:SHORT]}); no event")
    changed = [name for name, part in parts.items() if part != before.get("parts", {}).get(name)]
    payload = {"digest": digest, "before": before.get("digest"), "changed": changed, **sources}
    _emit(request.project, payload)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    objects.write(place, orjson.dumps({"digest": digest, "parts": parts, "at": now}))
    what = f"{' and '.join(changed) or 'nothing'} changed" if before else "announced for the first time"
    return Announced(payload, f"{request.project}: {what} ({digest[:SHORT]}); {EVENT} emitted")


def _emit(name: str, payload: dict[str, Any]) -> None:
    """By a request that is answered, and not by `emit_event`, which leaves it to a thread and reports no failure."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": f"{RESOURCE}{name}", "prefect.resource.name": name},
        "payload": payload,
    }
    with get_client(sync_client=True) as client:
        try:
            client.request("POST", "/events", json=[event])  # raises for every status that is an error
        except (HTTPError, PrefectHTTPStatusError) as error:
            raise UserError(
                f"the Prefect server at {client.api_url} did not take the event: {error}",
                "check PREFECT_API_URL and that the server runs; nothing was marked as announced",
            ) from error
