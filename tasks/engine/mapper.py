"""How the pieces of a step's work are spread: here, one after the other, or over the flow's task runner."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Spread(Protocol):
    """Maps a function over many calls. The results come in the calls' order, and calls are drawn as they are needed.

    The function is a module-level one without side effects, and its arguments and results can be pickled: it may run
    in another thread, process or machine. Its outcome never depends on where.
    """

    def __call__(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]], *, name: str
    ) -> Iterator[Result]: ...


def here(function: Callable[..., Result], calls: Iterable[tuple[Any, ...]], *, name: str) -> Iterator[Result]:
    """In this process, one after the other."""
    return (function(*call) for call in calls)
