"""Stopping stops: by Ctrl-C or a signal in a terminal, and by the run's state, whoever changed it.

A run is ended from a thread of its own, whatever the main thread does, and its children go first. What is finished is
published already, and a lease is free once its process is gone, so nothing needs unwinding: Prefect's own way, through
every layer with a state for each, takes minutes once the run's server is gone.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Cancelled

from flows.orchestration import flow_run_id

GRACE = 2.0  # seconds that children have to end by themselves
BRIEFLY = 1.5  # seconds that the server has to answer
EVERY = 5.0  # seconds between looks at the run's state
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal's end"}
AGAIN = "what is finished is kept; run again, it goes on, a training from its last checkpoint"
# uvicorn, which ends with the process that started it, however that ends; 1 is PR_SET_PDEATHSIG of prctl(2).
DIES_WITH = (
    "import ctypes, os, runpy, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv.pop(1)) or sys.exit(); "
    "runpy.run_module('uvicorn', run_name='__main__', alter_sys=True)"
)

_ending = Event()
_first = Lock()  # of the threads that would end this process, held by the one that does
_in_terminal = Event()
_runs: list[UUID] = []  # of this process, on a server that outlives it


@contextmanager
def in_terminal() -> Iterator[None]:
    """Run flows in here, with a server of their own if none is configured; the first signal ends all within 5 s.

    It prints one line then, and exits with 128 and the signal's number. For the main thread; `nohup` is respected.
    """
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def tell(number: int, _: Any) -> None:
        with suppress(OSError):
            os.write(writer, bytes([number]))

    # The number goes through the pipe at once, which needs no turn of the main thread, also while Prefect has put a
    # handler of its own in place; and by the handler, should an event loop have taken the wakeup for itself.
    before = {number: signal.signal(number, tell) for number in caught}
    fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    Thread(target=_wait_for_signal, args=(reader, caught), name="signals", daemon=True).start()
    _in_terminal.set()
    try:
        if not PREFECT_API_URL.value():
            _start_server()
        yield
    finally:
        if _ending.is_set():
            Event().wait()  # the other thread ends this process
        _in_terminal.clear()
        signal.set_wakeup_fd(fd)
        os.close(writer)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def as_its_state_says() -> Iterator[None]:
    """End this process, within seconds, once the server says that the flow run in here is not to go on.

    A worker ends a run that is cancelled; nobody else ends one in a terminal, or one that is suspended or paused while
    it trains. Suspended, it gives its place away, and goes on from its checkpoint when it is resumed.
    """
    run = flow_run_id()
    if not run or (_in_terminal.is_set() and not PREFECT_API_URL.value()):  # nobody can reach a server of its own
        yield
        return
    done = Event()
    _runs.append(UUID(run))
    Thread(target=_watch, args=(UUID(run), done), name="state", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        _runs.remove(UUID(run))


def _wait_for_signal(reader: int, caught: list[signal.Signals]) -> None:
    while number := os.read(reader, 1):  # empty once the writer is closed
        if number[0] in caught:
            _end(f"stopped by {SIGNALS[signal.Signals(number[0])]}", 128 + number[0], tell=True)
    os.close(reader)


def _watch(run: UUID, done: Event) -> None:
    ends = {StateType.CANCELLED, StateType.PAUSED} | ({StateType.CANCELLING} if _in_terminal.is_set() else set())
    while not done.wait(EVERY):
        with suppress(Exception), _briefly() as client:
            state = client.read_flow_run(run).state
            if state and state.type in ends and not done.is_set():
                code = 1 if _in_terminal.is_set() else 0  # else a worker would report a crash over the state
                _end(f"stopped by the server: {state.name}", code, tell=state.type == StateType.CANCELLING)


def _end(why: str, code: int, *, tell: bool) -> None:
    """Say why in one line, end all children, and then this process. Never returns."""
    if not _first.acquire(blocking=False):
        Event().wait()
    _ending.set()
    try:
        _say(f"{why}; {AGAIN}")
        _end_children(why, tell=tell)
    finally:  # the main thread waits for this
        os._exit(code)


def _say(line: str) -> None:
    """The last line of this process: of what the main thread says of its children's end nothing is of use."""
    with suppress(OSError):  # of a terminal that is gone
        os.write(2, f"\r\x1b[K{line}\n".encode() if os.isatty(2) else f"{line}\n".encode())
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)


def _end_children(why: str, *, tell: bool) -> None:
    children = psutil.Process().children(recursive=True)
    for each in children:
        with suppress(psutil.Error):
            each.terminate()
    for run in _runs if tell else ():
        with suppress(Exception), _briefly() as client:
            client.set_flow_run_state(run, Cancelled(message=f"{why[0].upper()}{why[1:]}."), force=True)
    _, alive = psutil.wait_procs(children, timeout=GRACE)
    for each in alive:
        with suppress(psutil.Error):
            each.kill()
    psutil.wait_procs(alive, timeout=0.5)


@contextmanager
def _briefly() -> Iterator[Any]:
    with (
        temporary_settings({PREFECT_API_REQUEST_TIMEOUT: BRIEFLY, PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        yield client


def _start_server() -> None:
    """The server that Prefect would start for the first flow, as one that leaves no orphan."""
    from prefect.server.api.server import SubprocessASGIServer

    class Server(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
            app = ["--factory", "prefect.server.api.server:create_app"]
            how = ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "error", "--lifespan", "on"]
            own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
            known = get_current_settings().to_environment_variables(exclude_unset=True)
            command = [sys.executable, "-c", DIES_WITH, str(os.getpid()), *app, *how]
            return subprocess.Popen(command, env={**os.environ, **own, **known})

    # A port that the system gives out: of two runs that draw the same of Prefect's thousand, one would use the other's
    # server, and be refused once that ends.
    server = Server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.port = free.getsockname()[1]
    server.start()
