"""A step: one function that reads inputs and writes one output folder."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, model_validator

from tasks.engine.errors import WiringError, did_you_mean


class _Runtime:
    """Marks a config field that cannot change a step's output, such as a worker count."""

    def __repr__(self) -> str:
        return "RUNTIME"


RUNTIME = _Runtime()


def _always(value: str, config: BaseModel) -> bool:
    return True


@dataclass(frozen=True)
class PathSetting:
    """Marks a config field with text that may name a place on disk: `applies(value, section)` says when it does.

    A field without this mark always does, so that one that nobody thought of is refused outside of REGROUND_ROOTS.
    `files`: it may be a glob or a folder, of which every file is used.
    """

    applies: Callable[[str, BaseModel], bool] = _always
    files: bool = False


NOT_A_PATH = PathSetting(lambda value, config: False)
Text = Annotated[str, NOT_A_PATH]  # of a setting that never names a place: a name, a sentence, a salt


class Config(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Base of every step's config: frozen, closed to unknown fields, and without numbers that JSON cannot tell."""

    @model_validator(mode="before")
    @classmethod
    def _on_and_off(cls, data: Any) -> Any:
        """The words on and off for what YAML makes of them, where a field takes these words and no boolean."""
        if not isinstance(data, dict):
            return data
        flags = {name: data[name] for name in cls.model_fields.keys() & data.keys() if isinstance(data[name], bool)}
        words = {name: "on" if flag else "off" for name, flag in flags.items()}
        return data | {
            name: word for name, word in words.items() if word in get_args(cls.model_fields[name].annotation)
        }


BY_THE_ENGINE = frozenset({"config", "out", "work", "earlier", "mapper"})  # arguments that are not inputs
CALLS = "flows/pipeline.py"  # where a person mends a step's call


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
    ``mapper``, to map a pure function over many pieces of work (see `tasks.engine.mapper`).

    The function's other keyword arguments are the step's inputs. One without a default is required; one whose type does
    not take None must not be None. `parts` names the folders of the output that a later step may take as an input of
    its own: ``dataset["train"]``.

    `rowwise` names inputs of which each row of the output depends on its own row alone. Such a step is given, as
    ``earlier``, only artifacts whose key differs in nothing but those inputs: what it finds there for a row is the
    answer for that row, and needs no further proof. Any other step must tell by itself what still holds.
    """

    name: str
    function: Callable[..., dict[str, float] | None]
    libraries: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    rowwise: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def __call__(self, config: Config, **inputs: Any) -> dict[str, float] | None:
        return self.function(config, **inputs)

    def takes(self, name: str) -> bool:
        """Whether the function names this argument: ``work``, ``earlier`` or ``mapper``."""
        return name in self._parameters

    def check(self, config: BaseModel, inputs: Mapping[str, object], label: str) -> None:
        """Raise WiringError if the function does not take this config and these inputs. Takes microseconds."""
        if not isinstance(config, self.config_type):
            found, wanted = type(config).__name__, self.config_type.__name__
            raise WiringError(f"{label}: the config is a {found}; {self.name} takes a {wanted}", f"mend it in {CALLS}")
        known = {name: each for name, each in self._parameters.items() if name not in BY_THE_ENGINE}
        inputs_of_step = f"{self.name} takes {', '.join(known)}; mend the call in {CALLS}"
        for name in inputs.keys() - known.keys():
            raise WiringError(f"{label}: there is no input {name!r}; {did_you_mean(name, known)}", inputs_of_step)
        for name, parameter in known.items():
            if name not in inputs and parameter.default is parameter.empty:
                raise WiringError(f"{label}: the input {name!r} is missing", inputs_of_step)
            if inputs.get(name, self) is None and type(None) not in get_args(self._types[name]):
                raise WiringError(f"{label}: the input {name!r} is None, and {self.name} needs it", inputs_of_step)

    @property
    def config_type(self) -> type[Config]:
        config: type[Config] = self._types["config"]
        return config

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters

    @cached_property
    def _types(self) -> dict[str, Any]:
        return get_type_hints(self.function)


def check_part(about: str, part: str, known: Iterable[str]) -> None:
    """Raise WiringError if `part` is not among the parts of an output that are `known`."""
    if part not in known:
        raise WiringError(
            f"{about}: there is no part {part!r}; {did_you_mean(part, known)}",
            f"mend it in {CALLS}, or declare the folder where the step is defined: @step(parts=…)",
        )


def step(
    *,
    libraries: tuple[str, ...] = (),
    resources: tuple[str, ...] = (),
    rowwise: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
) -> Callable[[Callable[..., dict[str, float] | None]], Step]:
    """Make a function a step; see `Step` for the arguments."""

    def wrap(function: Callable[..., dict[str, float] | None]) -> Step:
        return Step(function.__name__, function, libraries, resources, rowwise, parts)

    return wrap
