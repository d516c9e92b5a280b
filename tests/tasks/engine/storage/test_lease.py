"""One computes a key, the others wait; who dies frees it. On a folder and on a bucket."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine import Config, step
from tasks.engine.inputs import Files
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.storage.lease import LEASES, held, live
from tasks.engine.storage.objects import Folder, require_exclusive_create
from tasks.engine.storage.process import Process
from tasks.engine.storage.store import Store
from tests.tasks.engine.storage.published import TERM, leave_behind
from tests.waiting import PATIENCE, wait_until


@step()
def once(config: Config, *, rows: list[Path], out: Path) -> None:
    """Leaves a line in runs.log beside its input, and takes a while."""
    note(rows[0], "runs.log", "once")
    time.sleep(0.5)
    (out / "copy.txt").write_bytes(rows[0].read_bytes())


@step()
def asked_by_four(config: Config, *, rows: list[Path], out: Path) -> None:
    """Takes half a second from when four processes have come to ask for it, however long those take to start."""
    note(rows[0], "runs.log", "asked_by_four")
    wait_until(lambda: len(noted(rows[0], "asked.log")) == 4)
    time.sleep(0.5)
    (out / "copy.txt").write_bytes(rows[0].read_bytes())


@step()
def stuck(config: Config, *, rows: list[Path], out: Path) -> None:
    """Never ends the first time."""
    first = not noted(rows[0], "runs.log")
    note(rows[0], "runs.log", "stuck")
    if first:
        time.sleep(300)
    (out / "copy.txt").write_bytes(rows[0].read_bytes())


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("one row")
    return path


def request_for(which, rows: Path) -> Request:
    return Request(which, Config(), {"rows": Files((rows,))}, which.name)


MAKE = """
import sys
from pathlib import Path
from tasks.engine.make import make
from tasks.engine.storage.store import Store
from tests.tasks.engine.storage import test_lease

which, rows, url, cache, term = sys.argv[1:]
store = Store(url, cache=Path(cache), lease_seconds=float(term))
test_lease.note(Path(rows), "asked.log", which)
make(test_lease.request_for(getattr(test_lease, which), Path(rows)), store)
"""


def start(which: str, rows: Path, store: Store, cache: str = "cache", term: float = TERM) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", MAKE, which, str(rows), store.url, str(rows.parent / cache), str(term)]
    return subprocess.Popen(words, text=True, stderr=subprocess.PIPE)


def note(rows: Path, log: str, line: str) -> None:
    """Beside the input, where all processes see it."""
    with (rows.parent / log).open("a") as file:
        file.write(f"{line}\n")


def noted(rows: Path, log: str) -> list[str]:
    path = rows.parent / log
    return path.read_text().splitlines() if path.exists() else []


def runs(rows: Path) -> list[str]:
    return noted(rows, "runs.log")


def leases(store: Store) -> list[str]:
    return list(store.objects.glob(f"{LEASES}/*/*"))


@pytest.mark.parametrize(  # tests/tasks/engine/test_make.py has a folder, too
    "place", ["s3", pytest.param("folder", marks=[pytest.mark.slow, pytest.mark.nightly])], indirect=True
)
def test_of_four_processes_one_computes_and_all_succeed(store, rows):
    processes = [start("asked_by_four", rows, store, f"cache-{number}") for number in range(4)]
    told = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, told
    assert runs(rows) == ["asked_by_four"]
    assert any("waiting for asked_by_four/" in text and "pid" in text for text in told)
    assert leases(store) == []


def test_a_killed_holder_frees_its_key_at_once_for_its_own_machine(store, rows):
    process = start("stuck", rows, store, term=PATIENCE)
    wait_until(lambda: runs(rows), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert leases(store)
    begin = time.monotonic()
    made, there = make(request_for(stuck, rows), store)
    assert not there
    assert time.monotonic() - begin < PATIENCE / 2
    assert (made.folder / "copy.txt").read_text() == "one row"
    assert leases(store) == []


def test_a_holder_that_died_on_another_machine_frees_its_key_within_the_term(store, rows, monkeypatch, capsys):
    request = request_for(once, rows)
    leave_behind(store, f"once-{request.key[:16]}", monkeypatch)
    begin = time.monotonic()
    _, there = make(request, store)
    took = time.monotonic() - begin
    assert not there
    assert took > TERM
    assert "waiting for once/" in capsys.readouterr().err
    assert leases(store) == []


def test_a_stopped_holder_loses_its_key_and_does_no_harm_when_it_goes_on(store, rows):
    process = start("stuck", rows, store, "other-cache")
    wait_until(lambda: runs(rows))
    process.send_signal(signal.SIGSTOP)
    made, there = make(request_for(stuck, rows), store)
    assert not there
    process.send_signal(signal.SIGCONT)
    time.sleep(TERM)  # time enough for its heart to beat and see
    process.kill()
    process.communicate()
    assert store.find("stuck", made.key).digest == made.digest
    assert runs(rows) == ["stuck", "stuck"]


def test_a_holder_that_works_longer_than_the_term_keeps_its_lease(store):
    order = []

    def second() -> None:
        with held(store.objects, "toy", TERM, lambda _: None):
            order.append("second")

    with held(store.objects, "toy", TERM, lambda _: None) as lease:
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1.5 * TERM)
        assert not lease.lost
        assert set(live(store.objects)) == {"toy"}
        order.append("first")
    thread.join(PATIENCE)
    assert order == ["first", "second"]
    assert live(store.objects) == {}


def test_never_do_two_hold_one_lease(store):
    """Threads that come and go, on the edge where one releases what others are about to take."""
    inside, seen, done = [], [], time.monotonic() + 2

    def work() -> None:
        while time.monotonic() < done or len(seen) <= 4:
            with held(store.objects, "toy", 30, lambda _: None):
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) > 4
    assert set(seen) == {1}


def test_a_lease_that_no_one_can_read_is_waited_for_and_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.engine.storage.lease.SECONDS", 0.5)
    objects = Folder(tmp_path)
    objects.create(f"{LEASES}/toy/4", b"")
    with held(objects, "toy", 0.5, lambda _: None) as lease:
        assert lease.epoch == 5


def test_creating_is_exclusive_for_the_service_itself(bucket_store):
    bucket = bucket_store.objects
    require_exclusive_create(bucket)
    outcomes = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append(bucket.create("contested", b"%d" % n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_process_is_told_dead_only_where_one_can_tell():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    this = Process.this()
    started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    process = replace(this, pid=child.pid, started=started)
    assert (process.is_alive, process.is_dead) == (True, False)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: process.is_dead)  # a zombie still, for nobody has waited for it
    child.wait()
    assert process.is_dead
    assert replace(this, started=this.started - 1).is_dead  # its number was given to another
    assert not replace(process, place="elsewhere").is_dead
    assert Process.from_tag(f"{this.tag}-9f31").is_alive
