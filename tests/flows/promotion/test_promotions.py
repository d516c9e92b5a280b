"""Promote, refuse, roll back: one log, always one valid state. On a folder and on a bucket."""

import threading
import time
from pathlib import Path

import pytest

from flows.promotion import log as promotion_log
from flows.promotion import upkeep
from flows.promotion.candidates import find, roles, version
from flows.promotion.promotions import Promotions
from flows.promotion.upkeep import check, collect
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import adapter, gate
from tests.tasks.engine.storage.published import elsewhere, flip


def names(store) -> dict[str, str]:
    """Role → adapter, in short."""
    return {name: version.about for name, version in Promotions(store).state.roles().items()}


def test_an_empty_log_has_no_roles(store):
    assert Promotions(store).entries() == []
    assert names(store) == roles(store) == {}
    assert Promotions(store).before(None).state.champion is None


def test_a_promotion_is_one_entry_that_says_who_when_why_and_by_what_proof(store, tmp_path):
    first = adapter(store, "first")
    proof = gate(store, first)
    entry = Promotions(store).promote(first, why="it is better", gate=proof)
    assert (entry.number, entry.action, entry.why, entry.decision) == (1, "promote", "it is better", "promote")
    assert (entry.adapter, entry.gate) == (f"export/{first.key}", f"gate/{proof.key}")
    assert not entry.by_hand
    assert entry.verdicts[0]["outcome"] == "holds"
    assert entry.at.endswith("+00:00")
    assert entry.by["user"] and entry.by["host"]
    other = elsewhere(store, tmp_path)
    assert Promotions(other).entries() == [entry]
    assert names(other) == {"champion": first.about}
    assert roles(other)["champion"].key == find(other, "champion").key == first.key
    assert roles(other)["champion"].at == entry.at


def test_an_entry_written_by_an_earlier_release_still_loads():
    """Its digest covers every field, and a log that cannot be read is refused: the format must not change."""
    content = Path(__file__).with_name("entry-2026-11.json").read_bytes()
    entry = promotion_log.Entry.from_content(content)
    assert (entry.action, entry.who, entry.state.champion.since) == ("promote", "root@vm", 1)
    assert entry.content() == content


def test_champions_are_a_stack_and_two_rollbacks_go_two_steps_down(store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    before = None
    for each in (first, second, third):
        Promotions(store).promote(each, why="better", gate=gate(store, each, before))
        before = each
    assert names(store) == {"champion": third.about, "previous": second.about}
    entry = Promotions(store).rollback(why="it invents pump names")
    assert (entry.action, entry.adapter, entry.why) == ("rollback", f"export/{third.key}", "it invents pump names")
    assert names(store) == {"champion": second.about, "previous": first.about}
    with pytest.raises(UserError, match="was rolled back already.*in service") as error:
        Promotions(store).rollback(why="again")
    assert f"reground rollback {second.about} --because" in error.value.remedy
    Promotions(store).rollback(why="that one too", adapter=second)
    assert names(store) == {"champion": first.about}
    with pytest.raises(UserError, match="no adapter was in service that could come back"):
        Promotions(store).rollback(why="and on", adapter=first)
    assert [entry.action for entry in Promotions(store).entries()] == ["promote"] * 3 + ["rollback"] * 2


def test_what_is_so_already_is_not_said_twice(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    log = Promotions(store)
    ways = [
        lambda: log.promote(first, why="better", gate=gate(store, first)),
        lambda: log.refuse(second, why="worse", gate=gate(store, second, first, decision="refuse")),
        lambda: log.challenge(second, gate=gate(store, second, first, decision="undecided")),
        lambda: log.promote(second, why="by hand", force=True),
        lambda: log.rollback(why="it was worse", adapter=second),
    ]
    for number, way in enumerate(ways, 1):
        assert way().number == way().number == number
    assert len(log.entries()) == len(ways)
    assert log.challenge(first).number == 5, "of the champion nothing new is said"
    assert log.refuse(first, why="no").number == 5


def test_an_adapter_made_again_under_another_key_is_the_same_by_its_weights(store):
    first = adapter(store, "first")
    Promotions(store).promote(first, why="better", gate=gate(store, first))
    again = adapter(store, "first", again=1)
    assert again.key != first.key
    assert Promotions(store).promote(again, why="better").number == 1
    assert Promotions(store).before(again).state.champion is None


@pytest.mark.parametrize(("decision", "says"), [("refuse", "the gate refused it"), ("undecided", "could not decide")])
def test_only_what_the_gate_would_promote_is_promoted_else_by_hand_on_the_record(store, decision, says):
    first = adapter(store, "first")
    against = gate(store, first, decision=decision)
    with pytest.raises(UserError, match=f"{says}.*token F1.*0.20") as error:
        Promotions(store).promote(first, why="I like it", gate=against)
    assert "--force --because" in error.value.remedy
    with pytest.raises(UserError, match="for no reason"):
        Promotions(store).promote(first, why=" ", gate=against, force=True)
    assert Promotions(store).entries() == []
    entry = Promotions(store).promote(first, why="the gate's rows are stale", gate=against, force=True)
    assert (entry.by_hand, entry.decision, entry.why) == (True, decision, "the gate's rows are stale")


def test_a_gate_that_judged_another_adapter_or_another_champion_proves_nothing(store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    with pytest.raises(UserError, match="judged another adapter"):
        Promotions(store).promote(first, why="better", gate=gate(store, second))
    Promotions(store).promote(first, why="better", gate=gate(store, first))
    against_first = gate(store, third, first)
    with pytest.raises(UserError, match=f"another champion: {first.about} is champion now"):
        Promotions(store).promote(second, why="better", gate=gate(store, second))
    Promotions(store).promote(second, why="better", gate=gate(store, second, first))
    with pytest.raises(UserError, match=f"another champion: {second.about} is champion now.*\n.*compares again"):
        Promotions(store).promote(third, why="better", gate=against_first)


def test_what_was_rolled_back_comes_back_only_by_hand(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    Promotions(store).promote(first, why="better", gate=gate(store, first))
    against_first = gate(store, second, first)
    Promotions(store).promote(second, why="better", gate=against_first)
    Promotions(store).rollback(why="it invents pump names")
    assert Promotions(store).log().rolled_back(version(second))
    assert Promotions(store).log().rolled_back(version(adapter(store, "second", again=1)))
    with pytest.raises(UserError, match="was rolled back on .*: it invents pump names") as error:
        Promotions(store).promote(second, why="better", gate=against_first)
    assert "--force --because" in error.value.remedy
    Promotions(store).promote(second, why="the names are right", gate=against_first, force=True)
    assert not Promotions(store).log().rolled_back(version(second))
    assert names(store) == {"champion": second.about, "previous": first.about}


def test_a_champion_that_is_promoted_again_is_not_under_itself(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    for each in (first, second, first):
        Promotions(store).promote(each, why="by hand")
    assert names(store) == {"champion": first.about, "previous": second.about}
    Promotions(store).rollback(why="no")
    assert names(store) == {"champion": second.about}


def test_a_new_champion_ends_the_wait_of_a_challenger_and_a_refusal_its_own(store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    Promotions(store).challenge(first, gate=gate(store, first, decision="undecided"))
    assert names(store) == {"challenger": first.about}
    assert roles(store)["challenger"].key == first.key
    Promotions(store).refuse(second, why="worse", gate=gate(store, second, decision="refuse"))
    assert names(store) == {"challenger": first.about}
    Promotions(store).refuse(first, why="not now", approver="Anna")
    assert names(store) == {}
    Promotions(store).challenge(first, gate=gate(store, first, decision="undecided"))
    Promotions(store).promote(third, why="by hand")
    assert names(store) == {"champion": third.about}


def test_the_incumbent_of_the_champion_is_the_one_before_it_so_that_a_rerun_compares_with_the_same(store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    log = Promotions(store)
    assert log.before(first).state.champion is None
    log.promote(first, why="by hand")
    assert log.before(first).state.champion is None
    assert log.before(None).state.champion.key == log.before(second).state.champion.key == first.key
    log.promote(second, why="by hand")
    assert log.before(second).state.champion.key == first.key
    log.promote(third, why="by hand")
    log.rollback(why="no")
    assert log.before(third).state.champion.key == second.key
    assert log.before(second).state.champion.key == first.key


def test_only_a_whole_adapter_of_export_is_promoted_or_brought_back(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    with pytest.raises(UserError, match="is no adapter that can be served"):
        Promotions(store).promote(gate(store, first), why="by hand")
    Promotions(store).promote(first, why="by hand")
    Promotions(store).promote(second, why="by hand")
    store.remove("export", first.key)
    with pytest.raises(UserError, match="is not intact: it is not in the store"):
        Promotions(store).promote(first, why="by hand")
    with pytest.raises(UserError, match="is not intact: it is not in the store"):
        Promotions(store).rollback(why="no")
    with pytest.raises(UserError, match=f"is not in service: {second.about} is"):
        Promotions(store).rollback(why="no", adapter=adapter(store, "third"))
    assert names(store) == {"champion": second.about, "previous": first.about}


def test_a_champion_that_is_flawed_is_rolled_back_all_the_same(store):
    first, second = adapter(store, "first"), adapter(store, "second")
    for each in (first, second):
        Promotions(store).promote(each, why="by hand")
    store.remove("export", second.key)
    Promotions(store).rollback(why="it is broken", adapter=second)
    assert names(store) == {"champion": first.about}


def test_without_a_champion_there_is_nothing_to_roll_back(store):
    with pytest.raises(UserError, match="no champion to roll back"):
        Promotions(store).rollback(why="no")


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete", "empty", "swap"])
def test_a_log_that_is_not_whole_is_refused_and_told_by_fsck(store, harm):
    first, second = adapter(store, "first"), adapter(store, "second")
    for each in (first, second, first):
        Promotions(store).promote(each, why="by hand")
    name = "promotions/00000002.json"
    content = store.objects.read(name)
    if harm == "delete":
        store.objects.delete(name)
    else:
        other = store.objects.read("promotions/00000001.json").replace(b'"number": 1', b'"number": 2')
        harmed = {"flip": flip(content), "truncate": content[:-2], "empty": b"", "swap": other}[harm]
        store.objects.write(name, harmed)
    for ask in (Promotions(store).entries, lambda: Promotions(store).promote(second, why="by hand")):
        with pytest.raises(UserError, match="(?s)promotion log is damaged: promotions/00000002.json.*backup"):
            ask()
    findings = list(check(store))
    assert {(finding.where, finding.mended) for finding in findings} >= {(name, False)}
    with pytest.raises(UserError, match="is damaged"):
        collect(store, older_than=0, delete=True)
    store.objects.write(name, content)
    assert list(check(store)) == []


def test_entries_of_another_log_do_not_follow(store, tmp_path):
    other = Store(tmp_path / "other")
    for each in (store, other):
        for name in ("first", "second", "first"):
            Promotions(each).promote(adapter(each, name), why="by hand")
    store.objects.write("promotions/00000002.json", other.objects.read("promotions/00000002.json"))
    found = {finding.where: finding.problem for finding in check(store)}
    assert found["promotions/00000002.json"] == "does not follow from the entry before it"
    with pytest.raises(UserError, match="is damaged"):
        Promotions(store).entries()


def test_an_entry_whose_writer_died_before_the_first_byte_is_taken_away(tmp_path, monkeypatch):
    """As it may be where there are no hard links."""
    store = Store(tmp_path / "store")
    Promotions(store).promote(adapter(store, "first"), why="by hand")
    empty = store.root / "promotions/00000002.json"
    empty.touch()
    assert [(f.where, f.mended) for f in check(store)] == [("promotions/00000002.json", False)], "it may be filled yet"
    monkeypatch.setattr(upkeep, "FILLING", 0)
    assert [(f.where, f.mended) for f in check(store)] == [("promotions/00000002.json", True)]
    assert list(check(store)) == []
    assert Promotions(store).promote(adapter(store, "second"), why="by hand").number == 2


def test_gc_keeps_what_may_be_served_with_its_proof_and_never_the_log(store):
    made, proofs, before = [], [], None
    for name in ("one", "two", "three", "four", "five", "six"):
        made.append(adapter(store, name))
        proofs.append(gate(store, made[-1], before))
        Promotions(store).promote(made[-1], why="better", gate=proofs[-1])
        before = made[-1]
    waits, refused = adapter(store, "seven"), adapter(store, "eight")
    Promotions(store).challenge(waits, gate=gate(store, waits, before, decision="undecided"))
    Promotions(store).refuse(refused, why="worse")
    found = {item.name: item.why for item in collect(store, older_than=0, delete=True).items if item.keep}
    one, two, three, four, five, six = (each.about for each in made)
    assert found[six] == "champion"
    assert found[five] == "previous"
    assert found[four] == "a rollback may bring it back"
    assert found[waits.about] == "challenger"
    assert found[proofs[5].about] == f"proof of {six}"
    assert three in found, "the gate of the fourth compared it with this one"
    assert found[one] == "the best so far in abstention_f1", "none since was shown to beat it"
    assert {two, refused.about} & set(found) == set()
    assert len(Promotions(store).entries()) == 8
    assert list(check(store)) == []


def test_a_collection_keeps_what_a_second_rollback_brings_back_however_many_were_rolled_back_since(store):
    made = [adapter(store, name) for name in ("one", "two", "three", "four", "five", "six", "seven")]
    for each in made[:4]:
        Promotions(store).promote(each, why="by hand")
    for each in made[4:]:  # a bad week
        Promotions(store).promote(each, why="by hand")
        Promotions(store).rollback(why="no", adapter=each)
    found = {item.name: item.why for item in collect(store, older_than=0, delete=True).items if item.keep}
    assert found[made[1].about] == "a rollback may bring it back"
    assert made[0].about not in found
    for each in made[3:1:-1]:
        Promotions(store).rollback(why="that one too", adapter=each)
    assert names(store)["champion"] == made[1].about


ACTS = {
    "promote": lambda log, each: log.promote(each, why="by hand"),
    "challenge": lambda log, each: log.challenge(each),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_collection_waits_for_a_promotion_so_that_it_reads_of_it(store, monkeypatch, act):
    """Of an old adapter that nothing else needs."""
    first = adapter(store, "first")
    read = promotion_log.read
    monkeypatch.setattr(promotion_log, "read", lambda objects: (time.sleep(0.5), read(objects))[1])
    thread = threading.Thread(target=lambda: act(Promotions(store), first))
    thread.start()
    while not store.objects.glob(".leases/gc/*"):
        time.sleep(0.01)
    monkeypatch.undo()
    collect(store, older_than=0, delete=True)
    thread.join()
    assert store.find("export", first.key)
