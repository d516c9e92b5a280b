"""`reground up` and `reground down`: start what does not run yet, and end what runs.

Prefect's own `server start --background` does not do: it throws the server's log away, and after a crash or a reboot
its file with the process number blocks the next start, and has `server stop` end whatever has that number now.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx

from flows.orchestration.service import state
from flows.orchestration.service.state import Asked, Running
from tasks.engine.errors import UserError
from tasks.engine.storage.process import Process

PREFECT = [sys.executable, "-m", "prefect"]
STARTS = 180.0  # seconds; a new database takes some 10, a busy machine longer
GRACE = 30.0  # seconds to end after SIGTERM; a worker first ends its run, and that its training process: 8 s
Say = Callable[[str], None]


def up(asked: Asked, say: Say, *, add: bool = False) -> Running:
    """Start server and workers unless they run, and apply `deployments/` for each project; may be repeated.

    With `add` the projects are served beside those that are. Raises UserError if a service with other settings runs,
    the port is taken, or the server does not start.
    """
    with _exclusive():
        running = _known(asked, add=add)
        asked = running.asked
        if not running.is_alive("server"):
            _refuse_taken(asked.port)
        running = _start(running, "server", [*PREFECT, "server", "start"], state.server_settings(running), say)
        _wait_until_healthy(running)
        state.write(running)  # with the projects that it serves now, though all of it ran
        os.environ.update(state.worker_settings(running))  # the deployments' default is the workers' config
        from flows.orchestration.service import apply  # here, because Prefect reads its settings when it is imported

        for line in apply.apply(asked.configs, asked.notify):
            say(line)
        for pool in state.stated()["pools"]:
            name = f"{socket.gethostname()}-{pool}"
            command = [*PREFECT, "worker", "start", "--type", "process", "--pool", pool, "--name", name]
            running = _start(running, f"worker of {pool}", command, state.worker_settings(running), say)
    return running


def down(say: Say) -> bool:
    """End the workers with their runs, and then the server; False if nothing ran.

    A training that is ended keeps its last checkpoint.
    """
    with _exclusive():
        running = state.read()
        if running is None:
            return False
        alive = [name for name in running.processes if running.is_alive(name)]
        _end([running.processes[name] for name in alive if name != "server"])
        if running.is_alive("server"):
            _close_runs(running, say)
            _end([running.processes["server"]])
        state.path().unlink()
        for name in alive:
            say(f"{name} ended")
        return bool(alive)


def _known(asked: Asked, *, add: bool) -> Running:
    """What still runs of an earlier `up`: all of it, or the workers whose server died."""
    before = state.read()
    alive = {name: tag for name, tag in before.processes.items() if before.is_alive(name)} if before else {}
    if not before or not (alive or add):
        return Running(asked=asked, processes=alive)
    for name, value in before.asked.model_dump(exclude={"notify", "configs"}).items():
        now = getattr(asked, name)
        if value != now:
            what = "another one" if name in ("auth", "database") else f"{value}, not {now}"
            raise UserError(f"the service that runs has {what} as its {name}", "end it first: `reground down`")
    served = before.asked.configs
    if not add and not asked.configs.items() <= served.items():
        given, runs = (", ".join(f"{each.configs[name]}" for name in each.configs) for each in (asked, before.asked))
        remedy = "serve it as well: `reground up --add`, or end that first: `reground down`"
        raise UserError(f"the service that runs is for {runs}, not for {given}", remedy)
    return Running(asked=asked.model_copy(update={"configs": served | asked.configs}), processes=alive)


def _start(running: Running, name: str, command: list[str], environment: dict[str, str], say: Say) -> Running:
    """Start a process unless it runs: in a session of its own, that outlives this command."""
    if running.is_alive(name):
        say(f"{name} runs already")
        return running
    with (state.folder() / f"{name.replace(' ', '-')}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=state.home(),
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    processes = running.processes | {name: Process.of(child.pid).tag}
    running = running.model_copy(update={"processes": processes})
    state.write(running)  # before anything else can go wrong: `down` must know what runs
    say(f"{name} started")
    return running


def _end(tags: list[str]) -> None:
    """End processes together: SIGTERM, and SIGKILL to the session of one that has not ended within the grace."""
    alive = [process for process in map(Process.from_tag, tags) if process.is_alive]
    for process in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(process.is_alive for process in alive) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in alive:
        if process.is_alive:
            os.killpg(process.pid, signal.SIGKILL)  # the leader of its session and group


def _wait_until_healthy(running: Running) -> None:
    deadline = time.monotonic() + STARTS
    while time.monotonic() < deadline and running.is_alive("server"):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{running.url}/api/health", timeout=5).is_success:
                return
        time.sleep(0.3)
    log = state.folder() / "server.log"
    last = log.read_text(errors="replace").strip().splitlines()[-15:]
    raise UserError("the Prefect server did not start:\n  " + "\n  ".join(last), f"the whole log is in {log}")


def _close_runs(running: Running, say: Say) -> None:
    """Set the runs of the ended workers to Crashed; they would stay Running, and keep their place in the pool."""
    os.environ.update(state.client_settings(running))
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.states import Crashed

    ours = filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=list(state.stated()["pools"])))
    active = filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(any_=["Running", "Pending", "Cancelling"]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=filters.FlowRunFilter(state=active), work_pool_filter=ours):
            client.set_flow_run_state(run.id, Crashed(message="Ended by `reground down`."), force=True)
            say(f"{run.name} ended; started again, it goes on from its last checkpoint")


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            remedy = "end it, or name another port: `make up PORT=4300`"
            raise UserError(f"port {port} is taken by another program", remedy) from None


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """One `up` or `down` at a time."""
    state.folder().mkdir(parents=True, exist_ok=True)
    with (state.folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
