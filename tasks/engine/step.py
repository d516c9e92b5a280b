"""A step: one function that reads inputs and writes one output folder."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel


class _Runtime:
    """Marks a config field that cannot change a step's output, such as a worker count."""

    def __repr__(self) -> str:
        return "RUNTIME"


RUNTIME = _Runtime()


class Config(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Base of every step's config: frozen, closed to unknown fields, and without numbers that JSON cannot tell."""


@dataclass(frozen=True)
class Step:
    """A step's name, its function, and what besides its code shapes its output.

    `libraries` are distribution names whose versions enter the key; `resources` are files of the project that the
    step reads and that are not Python, such as an HTML template, as paths from the project's root.

    The function may return facts that depend on the machine and the hour (seconds, tokens per second); they go on the
    record, never into the key.

    Calling it runs the function itself, with no cache: ``validate(config, rows=[path], out=folder)``.

    A function may name further arguments, and is given them: ``work``, a folder of this key's that outlives a crash, to
    resume from; ``earlier``, the folders of earlier artifacts of this step, newest first, to take unchanged parts from;
    ``spread``, to map a pure function over many pieces of work (see `tasks.engine.mapper`).

    `grows` names inputs of which each row of the output depends on its own row alone. Such a step is given, as
    ``earlier``, only artifacts whose key differs in nothing but those inputs: what it finds there for a row is the
    answer for that row, and needs no further proof. Any other step must tell by itself what still holds.
    """

    name: str
    function: Callable[..., dict[str, float] | None]
    libraries: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    grows: tuple[str, ...] = ()

    def __call__(self, config: Config, **inputs: Any) -> dict[str, float] | None:
        return self.function(config, **inputs)

    def takes(self, name: str) -> bool:
        """Whether the function names this argument: ``work``, ``earlier`` or ``spread``."""
        return name in inspect.signature(self.function).parameters

    @property
    def config_type(self) -> type[Config]:
        hints = get_type_hints(self.function)
        config: type[Config] = hints["config"]
        return config


def step(
    *, libraries: tuple[str, ...] = (), resources: tuple[str, ...] = (), grows: tuple[str, ...] = ()
) -> Callable[[Callable[..., dict[str, float] | None]], Step]:
    """Make a function a step; see `Step` for the arguments."""

    def wrap(function: Callable[..., dict[str, float] | None]) -> Step:
        return Step(function.__name__, function, libraries, resources, grows)

    return wrap
