"""What is computed when it is first needed: attributes, and regular expressions."""

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

Value = TypeVar("Value")


class cached_property(Generic[Value]):  # noqa: N801
    """functools.cached_property without the lock that all objects of a class share before Python 3.12.

    Of two threads both may compute the attribute, to the same value.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute, self.name = compute, compute.__name__  # no docstring: what reads one has them all in its key

    def __get__(self, row: Any, owner: type | None = None) -> Value:
        value: Value = self.compute(row)
        row.__dict__[self.name] = value
        return value


class _Pattern:
    """A regular expression that is compiled when it is first used; from then on its methods are the compiled one's."""

    def __init__(self, text: str, flags: int) -> None:
        self.text, self.compiling = text, flags

    def __getattr__(self, name: str) -> Any:
        self.__dict__[name] = found = getattr(re.compile(self.text, self.compiling), name)
        return found


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """`re.compile` for modules, whose import it does not slow down: all patterns of `tasks/text` take 60 ms."""
    return cast(re.Pattern[str], _Pattern(text, flags))
