"""How the pieces of a step's work are mapped: one after the other, or in groups on workers of the flow's runner."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import requires, version
from socket import gethostname
from typing import Any, Generic, Protocol, TypeVar

from tasks.engine.code.reach import code_of
from tasks.engine.errors import UserError

NOT_IN_KEY = "a pure function gives the same results, in the same order, wherever it runs"

Result = TypeVar("Result")
Function = Callable[..., Result]
Call = tuple[Any, ...]


class Mapper(Protocol):
    """Maps a function over many calls. The results come in the calls' order, and calls are drawn as they are needed.

    The function is a module-level one without side effects, and its arguments and results can be pickled: it may run
    in another thread, process or machine. Its outcome never depends on where.
    """

    def __call__(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]], *, name: str
    ) -> Iterator[Result]: ...


def map_serial(function: Callable[..., Result], calls: Iterable[tuple[Any, ...]], *, name: str) -> Iterator[Result]:
    """In this process, one after the other."""
    return (function(*call) for call in calls)


class Done(Generic[Result]):
    """What a group gave, and the seconds it took. A plain class, because Prefect looks into lists and dataclasses."""

    def __init__(self, results: list[Result], seconds: float) -> None:
        self.results = results
        self.seconds = seconds


class Group:
    """A function and calls of it. A plain class: Prefect and Dask would search lists and tuples for tasks of theirs.

    `same` is what `made_with` says here, for a worker on another machine.
    """

    def __init__(self, function: Function[Any], calls: list[Call], same: dict[str, str] | None = None) -> None:
        self.function = function
        self.calls = calls
        self.same = same


def work(group: Group) -> Done[Any]:
    """Do a group's calls in order.

    Raises what the function raises, and UserError if this machine's code or libraries could give another result.
    """
    if group.same is not None:
        _refuse_other(group.function, group.same)
    return do(group.function, group.calls)


def do(function: Function[Result], calls: list[Call]) -> Done[Result]:
    start = time.perf_counter()
    results = [function(*call) for call in calls]
    return Done(results, time.perf_counter() - start)


@cache
def made_with(function: Function[Any]) -> dict[str, str]:
    """What shapes a function's results: the code it reaches, by digest, and the versions of Reground's libraries."""
    wanted = (line for line in requires("reground") or () if "extra ==" not in line)
    names = [re.split(r"[^\w.-]", line)[0] for line in wanted]
    # Without the local part: +cpu or +cu130 is placement.
    return code_of(function.__module__, function.__qualname__) | {n: version(n).split("+")[0] for n in names}


def _refuse_other(function: Function[Any], same: dict[str, str]) -> None:
    own = made_with(function)
    other = [name for name in sorted(same.keys() | own.keys()) if same.get(name) != own.get(name)]
    if other:
        raise UserError(
            f"the worker on {gethostname()} has another {', '.join(other[:4])} than the machine that started this run",
            "install the same version of Reground and of its libraries on the workers, and start them again",
        )
