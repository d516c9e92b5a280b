"""What became of adapters, as events that automations of Prefect act upon: a notification, a deployment of a server.

    adapter.promoted, adapter.refused, adapter.undecided, adapter.rolled-back

Each is about `reground.adapter.<first digits of the key>`, and its payload says why, by whom and in which store. They
follow from the promotion log: what is so already, and is not written there again, is not announced again either.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger

from flows.promotion.promotion_case import flow_run_id
from flows.promotion.promotions import Entry
from tasks.engine.storage.store import SHORT, Store

NAMES = {
    "promote": "adapter.promoted",
    "refuse": "adapter.refused",
    "rollback": "adapter.rolled-back",
    "challenge": "adapter.undecided",
}


@contextmanager
def announced(store: Store) -> Iterator[None]:
    """Announce what this flow run enters into the promotion log meanwhile; a server that is away is no failure."""
    before = len(store.promotions.entries())
    yield
    try:
        for entry in store.promotions.entries()[before:]:
            if entry.by.get("flow_run") == flow_run_id() and (event := event_of(entry)):
                _emit(store, entry, event)
    except Exception as error:
        get_run_logger().warning("What became of the adapter could not be announced: %s", error)


def event_of(entry: Entry) -> str | None:
    """The event of an entry; None for an adapter that the gate would promote, and that waits for a person's word."""
    return None if entry.action == "challenge" and entry.decision == "promote" else NAMES[entry.action]


def _emit(store: Store, entry: Entry, event: str) -> None:
    from prefect.events import emit_event  # .04 s, and most runs have nothing to announce

    key = entry.adapter.partition("/")[2]
    emit_event(
        event,
        resource={
            "prefect.resource.id": f"reground.adapter.{key[:SHORT]}",
            "prefect.resource.name": entry.about,
        },
        payload={"why": entry.why, "store": store.url, "who": entry.who},
    )
