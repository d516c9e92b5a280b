"""Pieces of work over threads, processes, and local clusters of Dask and of Ray that are started here."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL

from flows.orchestration.mappers import MAX_PIECES, Runner
from tasks.engine.errors import UserError
from tasks.engine.mapper import Group, made_with, map_serial, work
from tasks.text.tokens import words
from tests.toy_flow import in_flow
from tests.waiting import wait_until

CALLS = [(number, bytes([number]) * 50_000) for number in range(40)]
KINDS = [
    "threads",
    *(pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.nightly]) for kind in ("processes", "dask", "ray")),
]


def piece(number: int, data: bytes) -> bytes:
    """Earlier pieces take longer, so that they would be overtaken."""
    time.sleep(0.02 if number % 8 < 2 else 0.002)
    return hashlib.sha256(data).digest() + data


def process(number: int, data: bytes) -> int:
    time.sleep(0.01)
    return os.getpid()


def fails_at_20(number: int, data: bytes) -> bytes:
    if number == 20:
        raise UserError("row 20 is bad", "mend row 20")
    return piece(number, data)


@pytest.fixture
def small_groups(monkeypatch):
    """A group is worth starting for a fiftieth of a second, so that the tests need not work for long."""
    monkeypatch.setattr("flows.orchestration.mappers.GROUP_SECONDS", 0.04)


def spread(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], kind: str, **settings: Any) -> list[Any]:
    """What the calls give in a flow of their own."""
    given = []

    def job() -> None:
        with Runner(kind, **({"workers": 2} | settings)) as runner:
            given.extend(runner(function, calls, name="toy pieces"))

    in_flow(job)
    return given


@pytest.mark.parametrize("kind", KINDS)
def test_every_runner_gives_the_same_bytes_in_the_same_order(prefect_server, small_groups, kind):
    assert spread(piece, CALLS, kind) == list(map_serial(piece, CALLS, name="toy pieces"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_as_it_was_raised_and_stops_the_rest(prefect_server, small_groups, kind):
    drawn = []

    def calls() -> Iterator[tuple[int, bytes]]:
        for call in [*CALLS, *CALLS, *CALLS]:
            drawn.append(call)
            yield call

    with pytest.raises(UserError) as error:
        spread(fails_at_20, calls(), kind)
    assert (error.value.what, error.value.remedy) == ("row 20 is bad", "mend row 20")
    assert len(drawn) < 3 * len(CALLS)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_drawn_no_further_ahead_than_the_workers_need(prefect_server, small_groups, kind):
    drawn, ahead = 0, []

    def calls() -> Iterator[tuple[int, bytes]]:
        nonlocal drawn
        for call in CALLS * 5:
            drawn += 1
            yield call

    def job() -> None:
        with Runner(kind, workers=2) as runner:
            for given, _ in enumerate(runner(piece, calls(), name="toy pieces"), 1):
                ahead.append(drawn - given)

    in_flow(job)
    assert len(ahead) == 5 * len(CALLS)
    assert 0 < max(ahead) <= (2 + 1) * MAX_PIECES
    assert ahead[-1] == 0


def test_threads_are_in_this_process(prefect_server, small_groups):
    assert set(spread(process, CALLS, "threads")) == {os.getpid()}


@pytest.mark.slow
@pytest.mark.nightly
def test_processes_are_others_than_this_one(prefect_server, small_groups):
    pids = spread(process, CALLS, "processes")
    assert pids[0] == os.getpid()  # the first ones, to see what one costs
    assert len(set(pids)) == 3


def test_little_work_stays_in_this_process(prefect_server):
    assert set(spread(process, CALLS, "processes")) == {os.getpid()}


def test_no_calls_are_no_work(prefect_server):
    assert spread(piece, [], "threads") == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_is_a_task_run_that_says_which_pieces_it_has(prefect_server, small_groups, kind):
    def job() -> None:
        with Runner(kind, workers=2) as runner:
            list(runner(piece, CALLS, name="toy pieces"))

    mine = FlowRunFilter(id=FlowRunFilterId(any_=[in_flow(job)]))
    with get_client(sync_client=True) as client:

        def completed() -> list[tuple[int, ...]] | None:
            """The runs' ranges, once they cover all but the first pieces: those are timed to choose a group's size."""
            runs = client.read_task_runs(flow_run_filter=mine)
            runs = [run for run in runs if run.state and run.state.is_completed()]
            found = sorted(tuple(map(int, run.name.removeprefix("toy pieces ").split("–"))) for run in runs)
            covered = [piece for first, last in found for piece in range(first, last + 1)]
            return found if found and covered == list(range(found[0][0], len(CALLS) + 1)) else None

        numbers = wait_until(completed, every=0.2)  # the server takes its time to write down what the workers report
    assert numbers[0][0] <= 5


def test_each_group_hangs_from_the_task_of_its_step(prefect_server, small_groups):
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    @task(name="step", cache_policy=NO_CACHE)
    def step(runner: Runner, name: str) -> None:
        list(runner(piece, CALLS, name=name))

    def job() -> None:
        with Runner("threads", workers=2) as runner:
            for name in ("first", "second"):
                step.with_options(name=name)(runner, f"pieces of {name}")

    run = in_flow(job)
    with get_client(sync_client=True) as client:

        def drawn() -> dict[str, Any] | None:
            found = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": run}).json()["nodes"]
            labels = [node["label"] for _, node in found]
            begun = all(any(f"pieces of {name}" in each for each in labels) for name in ("first", "second"))
            return {node["id"]: node for _, node in found} if begun else None

        nodes = wait_until(drawn, every=0.2)
    groups = [node for node in nodes.values() if node["label"].startswith("pieces of ")]
    for group in groups:
        (parent,) = {nodes[each["id"]]["label"] for each in group["parents"]}
        assert group["label"].startswith(f"pieces of {parent.partition('-')[0]}")


def test_a_library_that_is_missing_is_named_with_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(UserError, match=r"pip install 'reground\[ray\]'"):
        Runner("ray")


@pytest.mark.slow
@pytest.mark.nightly
def test_a_cluster_that_runs_already_is_used_and_one_that_does_not_is_named(prefect_server, small_groups):
    import dask
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        pids = spread(process, CALLS, "dask", address=address, workers=None)
        workers = {info["id"] for info in cluster.scheduler_info["workers"].values()}
        assert len(workers) == 2
        assert len(set(pids) - {os.getpid()}) == 2
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UserError, match=f"cannot reach dask at {address}"),
    ):
        spread(piece, CALLS, "dask", address=address)


def test_a_worker_with_other_code_or_libraries_is_refused():
    same = made_with(words)
    assert {"orjson", "tasks.text.tokens:words"} <= same.keys()
    assert work(Group(words, [("two words",)], same)).results == [["two", "words"]]
    for name in ("orjson", "tasks.text.tokens:words"):
        with pytest.raises(UserError, match=f"another {name} than the machine that started this run"):
            work(Group(words, [("two words",)], same | {name: "0"}))


ENDLESS = """
import sys, time
from prefect import flow
from flows.orchestration import mappers as runner
from tests.flows.orchestration.test_mappers import CALLS, process

runner.GROUP_SECONDS = 0.04

@flow
def toy():
    with runner.Runner("processes", workers=2) as mapper:
        for pid in mapper(process, iter(CALLS * 1_000_000), name="toy pieces"):
            print(pid, flush=True)

if __name__ == "__main__":
    toy()
"""


@pytest.mark.slow
def test_processes_die_with_the_run_that_started_them(prefect_server, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    # On the tests' server: one of its own would outlive it.
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PREFECT_API_URL": PREFECT_API_URL.value()}
    run = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    pids: set[int] = set()
    while len(pids) < 3:
        pids.add(int(run.stdout.readline()))
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()])
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
