"""Which entries of the promotion log are announced as events, and that announcing never fails a run."""

import pytest

from flows.promote import announced, event_of
from flows.promotion.candidates import roles
from flows.promotion.decisions import PromotionConfig, apply_decision
from flows.promotion.promotions import Promotions
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import adapter, outcome
from tests.toy_flow import in_flow


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("decision", "mode", "event"),
    [
        ("promote", "auto", "adapter.promoted"),
        ("promote", "approve", None),  # it waits for a person
        ("refuse", "auto", "adapter.refused"),
        ("undecided", "auto", "adapter.undecided"),
    ],
)
def test_the_event_is_what_the_log_says(store, decision, mode, event):
    apply_decision(store, PromotionConfig(mode=mode), outcome(store, "a", decision=decision))
    assert event_of(Promotions(store).entries()[-1]) == event


def test_only_this_runs_new_entries_are_announced_and_once(prefect_server, store, monkeypatch):
    sent = []
    monkeypatch.setattr("prefect.events.emit_event", lambda event, **event_fields: sent.append((event, event_fields)))
    before = adapter(store, "before")
    Promotions(store).promote(before, why="by hand, in another process")
    new = adapter(store, "new")

    def job() -> None:
        for _ in range(2):
            with announced(store):
                Promotions(store).promote(new, why="better")
        with announced(store):
            Promotions(store).rollback(why="worse after all")

    in_flow(job)
    assert [event for event, _ in sent] == ["adapter.promoted", "adapter.rolled-back"]
    event_fields = sent[0][1]
    about = {"prefect.resource.id": f"reground.adapter.{new.key[:16]}", "prefect.resource.name": new.about}
    assert event_fields["resource"] == about
    assert event_fields["payload"]["why"] == "better"
    assert event_fields["payload"]["store"] == store.url
    assert "@" in event_fields["payload"]["who"]


def test_an_announcement_that_fails_fails_nothing(prefect_server, store, monkeypatch):
    def fails(*_, **__):
        raise ConnectionError("no server")

    monkeypatch.setattr("prefect.events.emit_event", fails)

    def job() -> None:
        with announced(store):
            Promotions(store).promote(adapter(store, "new"), why="better")

    in_flow(job)
    assert roles(store)["champion"]
