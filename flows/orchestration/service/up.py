"""`reground up` and `reground down`: start what is not there yet, and end what runs."""

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator

import httpx

from flows.orchestration.service import place, processes
from flows.orchestration.service.place import Asked, Running
from tasks.engine.errors import UserError

SERVER = [sys.executable, "-m", "prefect", "server", "start"]
STARTS = 180.0  # seconds; a new database takes some 10, a busy machine longer
Say = Callable[[str], None]


def up(asked: Asked, say: Say) -> Running:
    """Start server and workers unless they run, and apply `deployments/`; may be repeated.

    Raises UserError if a service of other settings runs, the port is taken, or the server does not start.
    """
    with _alone():
        told = _known(asked)
        told = _started(told, "server", SERVER, place.server_settings(told), say)
        _wait_until_healthy(told)
        os.environ.update(place.worker_settings(told))  # what is deployed has the workers' config as its default
        from flows.orchestration.service import apply  # here, because Prefect reads its settings when it is imported

        for line in apply.apply(asked.notify):
            say(line)
        for name, command in _workers(apply.POOLS).items():
            told = _started(told, name, command, place.worker_settings(told), say)
    return told


def down(say: Say) -> bool:
    """End the workers, with the runs that they have, and then the server; False if nothing ran.

    A training that is ended keeps its last checkpoint.
    """
    with _alone():
        told = place.running()
        if told is None:
            return False
        alive = [name for name in told.processes if told.is_alive(name)]
        processes.end([told.processes[name] for name in alive if name != "server"])
        if told.is_alive("server"):
            _close_runs(told, say)
        processes.end([tag for name, tag in told.processes.items() if name == "server"])
        place.forget()
        for name in alive:
            say(f"{name} ended")
        return bool(alive)


def _known(asked: Asked) -> Running:
    """What runs of an earlier `up`: all of it, or the workers whose server died."""
    before = place.running()
    alive = {name: tag for name, tag in before.processes.items() if before.is_alive(name)} if before else {}
    if before and alive:
        _refuse_other(before.asked, asked)
    return Running(asked=asked, processes=alive)


def _workers(pools: dict[str, int]) -> dict[str, list[str]]:
    start = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process"]
    return {f"worker of {pool}": [*start, "--pool", pool, "--name", f"{socket.gethostname()}-{pool}"] for pool in pools}


def _started(told: Running, name: str, command: list[str], settings: dict[str, str], say: Say) -> Running:
    if told.is_alive(name):
        say(f"{name} runs already")
        return told
    if name == "server":
        _refuse_taken(told.asked.port)
    tag = processes.start(command, settings=settings, log=place.folder() / f"{name.replace(' ', '-')}.log")
    told = told.model_copy(update={"processes": told.processes | {name: tag}})
    place.remember(told)  # before anything else can go wrong: what runs must be known to `down`
    say(f"{name} started")
    return told


def _wait_until_healthy(told: Running) -> None:
    deadline = time.monotonic() + STARTS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{told.url}/api/health", timeout=5).is_success:
                return
        if not told.is_alive("server"):
            break
        time.sleep(0.3)
    log = place.folder() / "server.log"
    last = log.read_text(errors="replace").strip().splitlines()[-15:]
    raise UserError("the Prefect server did not start:\n  " + "\n  ".join(last), f"the whole log is in {log}")


def _close_runs(told: Running, say: Say) -> None:
    """Tell the server that the runs of the ended workers are over; they would stay Running, and keep their place."""
    os.environ.update(place.client_settings(told))
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.states import Crashed

    from flows.orchestration.service.apply import POOLS

    ours = filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=list(POOLS)))
    going = filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(any_=["Running", "Pending", "Cancelling"]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=filters.FlowRunFilter(state=going), work_pool_filter=ours):
            client.set_flow_run_state(run.id, Crashed(message="Ended by `reground down`."), force=True)
            say(f"{run.name} ended; started again, it goes on from its last checkpoint")


def _refuse_other(runs: Asked, asked: Asked) -> None:
    for name, value in asked.model_dump().items():
        is_now = getattr(runs, name)
        if value != is_now and name != "notify":
            shown = "another one" if name in ("auth", "database") else f"{is_now}, not {value}"
            raise UserError(f"the service that runs has {shown} as its {name}", "take it down first: `reground down`")


def _refuse_taken(port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"port {port} is taken by another program", "end it, or name another port: `make up PORT=4300`"
            ) from None


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` at a time."""
    place.folder().mkdir(parents=True, exist_ok=True)
    with (place.folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
