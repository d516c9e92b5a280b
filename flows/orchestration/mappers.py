"""Maps a step's pieces of work over one of Prefect's task runners: threads, processes, Dask or Ray.

Pieces are put into groups, one Prefect task run each: a task run costs the server 35 ms and its worker up to 200, so
that one for every small piece would cost more than the piece.
"""

import ctypes
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from functools import cache
from importlib.util import find_spec
from itertools import islice
from typing import Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import RunInput, TaskRunResult
from prefect.context import TaskRunContext
from prefect.futures import PrefectWrappedFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.task_runners import TaskRunner as PrefectRunner

from tasks.engine.errors import UserError, install
from tasks.engine.mapper import Call, Done, Function, Group, Result, do, made_with, work

Kind = Literal["threads", "processes", "dask", "ray"]
Future = PrefectWrappedFuture[Done[Result], Any]
Started = tuple[PrefectRunner[Any], int]  # with the number of groups that it runs at once

CORES = len(os.sched_getaffinity(0))
GROUP_SECONDS = 2.0  # of work in a group: ten times what the most expensive task run costs
LOCAL = 2  # pieces at once in this process, before others are started: half of a piece's time releases the interpreter
MAX_PIECES = 8  # of a group: with pieces of 5 MB and 2 workers, 120 MB are in transit
EXTRAS = {"dask": "prefect_dask", "ray": "prefect_ray"}  # the module that the extra of this name brings


class Runner:
    """A `Mapper` over a Prefect task runner, for one flow run; a context manager, entered inside the flow.

    `workers` groups run at once: without it, as many as this machine has cores, or the cluster at `address`. Nothing
    is started until a step has done `GROUP_SECONDS` of work and has more: small work stays in this process.

    Raises UserError if the library is not installed or the cluster cannot be reached.
    """

    def __init__(self, kind: Kind = "threads", *, address: str | None = None, workers: int | None = None) -> None:
        if kind in EXTRAS and not find_spec(EXTRAS[kind]):
            raise UserError(f"runner: {kind} is not installed", f"{install(kind)}; or use threads")
        self.kind = kind
        self.address = address
        self.workers = workers
        self._started: Started | None = None
        self._open = ExitStack()
        # Groups are submitted from the flow and not from the step: Prefect's process pool keeps the context of its
        # first submission, and would show the groups of every later step as part of the first.
        self._flow = copy_context()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._flow.run(self._open.close)

    def __call__(self, function: Function[Result], calls: Iterable[Call], *, name: str) -> Iterator[Result]:
        _limit_arenas()  # not before there is work: it imports pyarrow, .1 s of a run that has none
        left = iter(calls)
        done, seconds = 0, 0.0
        with ThreadPoolExecutor(LOCAL) as pool:
            ahead = deque(pool.submit(do, function, [call]) for call in islice(left, LOCAL))
            while ahead:
                first = ahead.popleft().result()
                done, seconds = done + 1, seconds + first.seconds
                if seconds <= GROUP_SECONDS:
                    ahead.extend(pool.submit(do, function, [call]) for call in islice(left, 1))
                yield from first.results
        if done:
            yield from self._in_groups(function, left, name, done, seconds / done)

    def _in_groups(
        self, function: Function[Result], left: Iterator[Call], name: str, done: int, each: float
    ) -> Iterator[Result]:
        """The calls that are left after `done`, in groups; `each` is the seconds that one has taken so far."""
        pending: deque[tuple[Group, Future[Result]]] = deque()
        room = 1
        try:
            while True:
                size = min(MAX_PIECES, max(1, round(GROUP_SECONDS / each)))
                while len(pending) < room and (calls := list(islice(left, size))):
                    runner, workers = self._start()
                    room = workers + 1  # one waits for whoever is done first
                    numbers = f"{done + 1}–{done + len(calls)}"
                    group = Group(function, calls, made_with(function) if self.address else None)
                    pending.append((group, self._submit(runner, name, numbers, group)))
                    done += len(calls)
                if not pending:
                    return
                group, future = pending.popleft()
                worked = future.result()
                each = min(each, worked.seconds / len(worked.results))  # the first ones pay for imports
                results = worked.results
                # Prefect's futures are in reference cycles, and keep what they carry until Python collects those.
                group.calls, worked.results = [], []
                _trim_memory()
                yield from results
        finally:
            for _, future in pending:
                _cancel(future)

    def _start(self) -> Started:
        if self._started is None:
            with get_client(sync_client=True) as client:
                server = str(client.api_url)
            # A worker elsewhere has to know of a server that came with this run, or would start one of its own.
            self._flow.run(self._open.enter_context, temporary_settings({PREFECT_API_URL: server}))
            try:
                self._started = self._flow.run(self._open.enter_context, KINDS[self.kind](self.address, self.workers))
            except OSError as error:
                if not self.address:
                    raise
                raise UserError(
                    f"runner_address: cannot reach {self.kind} at {self.address}: {error}",
                    "start the cluster, or leave the address out for one on this machine",
                ) from error
        return self._started

    def _submit(self, runner: PrefectRunner[Any], name: str, numbers: str, group: Group) -> Future[Result]:
        named = task(name=name, task_run_name=f"{name} {numbers}", cache_policy=NO_CACHE, persist_result=False)
        step = TaskRunContext.get()
        edges: dict[str, set[RunInput]] = {"group": {TaskRunResult(id=step.task_run.id)} if step else set()}
        return self._flow.copy().run(runner.submit, named(work), {"group": group}, dependencies=edges)


@cache
def _limit_arenas() -> None:
    """Have glibc take large blocks from the system, and return them at once, for pyarrow as well.

    Otherwise they are kept among those of other threads. Measured on 30,000 rows: validate and build peak at 381 MB
    and end at 333, and without this and `_trim_memory` at 443 and 434; the CPU time was 5 % higher with it.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    threshold, arenas = (-3, 128 << 10), (-8, CORES)  # mallopt(3): M_MMAP_THRESHOLD in bytes, M_ARENA_MAX
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option in (threshold, arenas):
            mallopt(*option)


def _trim_memory() -> None:
    """Have glibc return what is free to the system, also before a block in use; a few ms per group."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _cancel(future: Future[Any]) -> None:
    """A group that waits does not start; one that runs ends by itself."""
    wrapped = future.wrapped_future
    if hasattr(wrapped, "cancel"):
        wrapped.cancel()
    else:  # Ray's references have no methods
        import ray

        ray.cancel(wrapped)


@contextmanager
def _threads(_: str | None, workers: int | None) -> Iterator[Started]:
    runner: PrefectRunner[Any]
    with ThreadPoolTaskRunner(max_workers=workers or CORES) as runner:
        yield runner, workers or CORES


@contextmanager
def _processes(_: str | None, workers: int | None) -> Iterator[Started]:
    with ProcessPoolTaskRunner(max_workers=workers or CORES, initializer=_die_with, initargs=(os.getpid(),)) as runner:
        yield runner, workers or CORES


def _die_with(parent: int) -> None:
    """Leave no orphan when the flow's process is killed: a pool's worker would wait for work forever."""
    death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def _dask(address: str | None, workers: int | None) -> Iterator[Started]:
    from prefect_dask.task_runners import DaskTaskRunner

    # Dask would rather have data scattered; but what it sends is for one task, and needed once.
    warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
    own = {"n_workers": workers or CORES, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=own) as runner:
        cores = sum(runner.client.nthreads().values())  # connects
        yield runner, workers or cores


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[Started]:
    import ray
    from prefect_ray.task_runners import RayTaskRunner

    own = {"num_cpus": workers or CORES, "_node_ip_address": "127.0.0.1", "include_dashboard": False}
    with RayTaskRunner(address, init_kwargs={"log_to_driver": False} | ({} if address else own)) as runner:
        yield runner, workers or int(ray.cluster_resources()["CPU"])


KINDS: dict[Kind, Callable[[str | None, int | None], AbstractContextManager[Started]]] = {
    "threads": _threads,
    "processes": _processes,
    "dask": _dask,
    "ray": _ray,
}
