"""Promote, refuse, roll back: one log, always one valid state. On a folder and on a bucket."""

import pytest

from tasks.errors import UserError
from tests.tasks.versioning.promoting import adapter, gate
from tests.tasks.versioning.test_store import elsewhere


def names(store) -> dict[str, str]:
    """Role → adapter, in short."""
    return {name: version.about for name, version in store.promotions.state.roles().items()}


def test_an_empty_log_has_no_roles(store):
    assert store.promotions.entries() == []
    assert names(store) == store.aliases() == {}
    assert store.promotions.incumbent(None) is None


def test_a_promotion_is_one_entry_that_says_who_when_why_and_by_what_proof(store, tmp_path):
    first = adapter(store, "first")
    proof = gate(store, first)
    entry = store.promotions.promote(first, why="it is better", gate=proof)
    assert (entry.number, entry.action, entry.why, entry.decision) == (1, "promote", "it is better", "promote")
    assert (entry.adapter, entry.gate) == (f"export/{first.key}", f"gate/{proof.key}")
    assert not entry.by_hand
    assert entry.verdicts[0]["outcome"] == "holds"
    assert entry.at.endswith("+00:00")
    assert entry.by["user"] and entry.by["host"]
    other = elsewhere(store, tmp_path)
    assert other.promotions.entries() == [entry]
    assert names(other) == {"champion": first.about}
    assert other.alias("champion").key == other.match("champion").key == first.key
    assert other.alias("champion").at == entry.at


def test_champions_are_a_stack_and_two_rollbacks_go_two_steps_down(store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    before = None
    for each in (first, second, third):
        store.promotions.promote(each, why="better", gate=gate(store, each, before))
        before = each
    assert names(store) == {"champion": third.about, "previous": second.about}
    entry = store.promotions.rollback(why="it invents pump names")
    assert (entry.action, entry.adapter, entry.why) == ("rollback", f"export/{third.key}", "it invents pump names")
    assert names(store) == {"champion": second.about, "previous": first.about}
    with pytest.raises(UserError, match="was rolled back already.*in service") as error:
        store.promotions.rollback(why="again")
    assert f"reground rollback {second.about} --because" in error.value.remedy
    store.promotions.rollback(why="that one too", adapter=second)
    assert names(store) == {"champion": first.about}
    with pytest.raises(UserError, match="no adapter was in service that could come back"):
        store.promotions.rollback(why="and on", adapter=first)
    assert [entry.action for entry in store.promotions.entries()] == ["promote"] * 3 + ["rollback"] * 2
