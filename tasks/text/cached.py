"""functools.cached_property without the lock that all objects of a class share before Python 3.12."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class cached_property(Generic[Value]):  # noqa: N801
    """An attribute that is computed when it is first read. Of two threads both may compute it, to the same value."""

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute, self.name = compute, compute.__name__  # no docstring: what reads one has them all in its key

    def __get__(self, row: Any, owner: type | None = None) -> Value:
        value: Value = self.compute(row)
        row.__dict__[self.name] = value
        return value
