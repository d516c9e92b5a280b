"""Which code shapes a step's output: every definition that it reaches, whatever folder that lies in.

What is reached but cannot change an output is marked where it is defined, with the reason: a module by the constant
`NOT_IN_KEY = "reason"`, a function, class or method by the decorator `@not_in_key("reason")`. The marks are read from
the source; what is marked counts for nothing, nor does what only it reaches.
"""

from collections.abc import Callable
from typing import TypeVar

Marked = TypeVar("Marked")
NOT_IN_KEY = "it only carries the reason"


def not_in_key(reason: str) -> Callable[[Marked], Marked]:
    """Mark a function, class or method that cannot change what a step writes."""
    return lambda marked: marked
