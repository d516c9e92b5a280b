"""SIGKILL before every change to the file system, and many processes at once: the state is the old one or the new."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from flows.promotion import upkeep
from flows.promotion.candidates import roles
from flows.promotion.log import Entry
from flows.promotion.promotions import Promotions
from flows.promotion.upkeep import check
from tasks.engine.storage.store import Store
from tests.faults.runs import CHANGES
from tests.flows.promotion.promoting import adapter, gate

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_before(change: int, act: Callable[[], object]) -> int:
    """Run `act` in a child that is killed before its `change`th change to the file system; returns how many it saw."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        code = 3
        try:
            seen = 0

            def see(event: str, args: tuple) -> None:
                nonlocal seen
                if event in CHANGES or (event == "open" and args[2] & WRITES):
                    seen += 1
                    os.write(write, b".")
                    if seen == change:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(see)
            act()
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (-signal.SIGKILL if change else 0), f"the child ended with {code}"
    with os.fdopen(read, "rb") as pipe:
        return len(pipe.read())


def seen(store: Store) -> list[tuple]:
    """What the log says, but for the hour and the process; with what the aliases mean."""
    meant = {name: (alias.step, alias.key) for name, alias in roles(store).items()}
    return [(e.number, e.action, e.adapter, e.why, e.gate, e.state) for e in Promotions(store).entries()] + [(meant,)]


ACTS: dict[str, Callable[[Store], Entry]] = {
    "promote": lambda store: Promotions(store).promote(
        adapter(store, "third"), why="better", gate=gate(store, adapter(store, "third"), adapter(store, "second"))
    ),
    "challenge": lambda store: Promotions(store).challenge(
        adapter(store, "third"), gate=gate(store, adapter(store, "third"), adapter(store, "second"))
    ),
    "refuse": lambda store: Promotions(store).refuse(adapter(store, "third"), why="worse"),
    "rollback": lambda store: Promotions(store).rollback(why="it invents", adapter=adapter(store, "second")),
}


NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize(
    ("links", "name", "stride"),
    [
        ("hard links", "promote", 8),
        ("none", "rollback", 8),
        *(pytest.param(links, name, 1, marks=NIGHTLY) for links in ("hard links", "none") for name in ACTS),
    ],
)
def test_killed_at_any_change_the_log_is_the_old_one_or_the_new_and_a_rerun_ends_the_same(
    tmp_path, monkeypatch, name, links, stride
):
    made = Store(tmp_path / "made")
    for each in ("first", "second"):
        Promotions(made).promote(adapter(made, each), why="by hand")
    gate(made, adapter(made, "third"), adapter(made, "second"))
    old = seen(made)
    if links == "none":
        monkeypatch.setattr(os, "link", refuse)
    undisturbed = Store(shutil.copytree(made.root, tmp_path / "undisturbed"))
    count = killed_before(0, lambda: ACTS[name](undisturbed))
    new = seen(undisturbed)
    assert new != old
    ends = set()
    assert count > 3, "there are changes to be killed at"
    for change in {*range(1, count, stride), count}:
        store = Store(shutil.copytree(made.root, tmp_path / f"store-{change}"))
        assert killed_before(change, lambda store=store: ACTS[name](store)) == change
        if links == "none":  # then an entry may be made, and not filled
            monkeypatch.setattr(upkeep, "FILLING", 0)
            if any(not path.stat().st_size for path in store.root.glob("promotions/*.json")):
                assert [finding.mended for finding in check(store)] == [True]
        left = seen(store)
        assert left in (old, new)
        assert list(check(store)) == []
        ends.add("new" if left == new else "old")
        ACTS[name](store)
        assert seen(store) == new
        assert list(check(store)) == []
    assert ends == {"old", "new"}


def refuse(*_, **__):
    raise OSError(95, "Operation not supported")


PROMOTE = """
import sys
from pathlib import Path
from flows.promotion.promotions import Promotions
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import adapter

url, cache, mine, count = sys.argv[1:]
store = Store(url, cache=Path(cache), lease_seconds=2)
for number in range(int(count)):
    each = adapter(store, f"{mine}-{number}")
    Promotions(store).promote(each, why="by hand")
    Promotions(store).refuse(adapter(store, f"{mine}-{number}-worse"), why="worse")
    try:
        Promotions(store).rollback(why="no", adapter=each)
    except UserError:  # another was promoted meanwhile
        pass
"""


@pytest.mark.parametrize("place", ["folder", "s3"], indirect=True)
def test_many_processes_at_once_leave_a_log_without_gaps_with_each_entry_once(store, tmp_path):
    many, count = 3, 2
    words = [sys.executable, "-c", PROMOTE, store.url]
    processes = [subprocess.Popen([*words, str(tmp_path / f"c{n}"), f"p{n}", str(count)]) for n in range(many)]
    while any(process.poll() is None for process in processes):
        state = Promotions(store).state
        assert not state.previous or state.champion
        time.sleep(0.05)
    assert [process.returncode for process in processes] == [0] * many
    entries = Promotions(store).entries()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    for action in ("promote", "refuse"):
        about = [entry.adapter for entry in entries if entry.action == action]
        assert len(about) == len(set(about)) == many * count
    assert list(check(store)) == []


def test_of_many_who_roll_back_one_champion_at_once_it_is_rolled_back_once(store, tmp_path):
    for name in ("first", "second", "third"):
        Promotions(store).promote(adapter(store, name), why="by hand")
    words = [sys.executable, "-c", ROLL_BACK, store.url]
    processes = [subprocess.Popen([*words, str(tmp_path / f"c{n}")]) for n in range(3)]
    assert {process.wait() for process in processes} <= {0, 2}
    assert [entry.action for entry in Promotions(store).entries()] == ["promote"] * 3 + ["rollback"]
    assert roles(store)["champion"].key == adapter(store, "second").key


ROLL_BACK = """
import sys
from pathlib import Path
from flows.promotion.promotions import Promotions
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store

store = Store(sys.argv[1], cache=Path(sys.argv[2]), lease_seconds=2)
try:
    Promotions(store).rollback(why="no")
except UserError:
    raise SystemExit(2)
"""


def test_killed_at_random_among_others_the_log_stays_whole(tmp_path):
    chance = random.Random(0)
    store = Store(tmp_path / "store")
    words = [sys.executable, "-c", PROMOTE, store.url, str(tmp_path / "cache")]
    for round_ in range(2):
        processes = [subprocess.Popen([*words, f"r{round_}-{n}", "50"]) for n in range(3)]
        time.sleep(chance.uniform(0.5, 1.5))
        for process in processes:
            process.kill()
            process.wait()
        assert list(check(store)) == []
        entries = Promotions(store).entries()
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    last = adapter(store, "the last")
    Promotions(store).promote(last, why="by hand")
    assert roles(store)["champion"].key == last.key
