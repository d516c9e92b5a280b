"""The key: what a step's output is made from, as one hash."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import Distribution, PackageNotFoundError
from typing import Any

from pydantic_core import to_jsonable_python

from tasks.engine.code.cache import code_of
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.inputs import Inputs, sha256_file, sha256_json
from tasks.engine.step import RUNTIME, Config, Step

NOT_IN_KEY = "what it finds is in the key itself"

Payload = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One call of a step: what it would make, before anyone asks whether that exists.

    `label` tells two calls of one step apart for people ("answer base", "answer tuned"); it is not identity. Raises
    WiringError for a config or inputs that the step does not take.
    """

    step: Step
    config: Config
    inputs: Inputs
    label: str

    def __post_init__(self) -> None:
        self.step.check(self.config, self.inputs, self.label)

    @property
    def known(self) -> bool:
        """Whether every input exists, so that the key is known."""
        return all(each is None or each.digest is not None for each in self.inputs.values())

    @cached_property
    def payload(self) -> Payload:
        """Everything that can change the output, and nothing else."""
        return {
            "step": self.step.name,
            "code": _code(self.step),
            "config": identity(self.config),
            "inputs": {name: each.digest if each else None for name, each in sorted(self.inputs.items())},
            "libraries": installed(self.step.libraries),
        }

    @cached_property
    def key(self) -> str:
        return sha256_json(self.payload)


def identity(config: Config) -> dict[str, Any]:
    """A config's fields that can change an output: all but those marked `RUNTIME`, at any depth."""
    fields = type(config).model_fields.items()
    return {name: _plain(getattr(config, name)) for name, field in fields if RUNTIME not in field.metadata}


def _plain(value: Any) -> Any:
    """A field's value as JSON has it; sets are sorted, whatever PYTHONHASHSEED is."""
    match value:
        case Config():
            return identity(value)
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case set() | frozenset():
            return sorted(map(_plain, value), key=sha256_json)
        case list() | tuple():
            return [_plain(each) for each in value]
    return to_jsonable_python(value)


def _code(step: Step) -> dict[str, str]:
    code = code_of(step.function.__module__, step.function.__name__)
    for resource in step.resources:
        code[resource] = sha256_file(ROOT / resource)
    return code


def same_resources(code: Mapping[str, str]) -> bool:
    """Whether the resources that are named in a payload's `code` have the same content now."""
    resources = {ROOT / name: digest for name, digest in code.items() if ":" not in name}
    return all(path.is_file() and sha256_file(path) == digest for path, digest in resources.items())


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of these distributions, sorted by name."""
    return {name: _version(name) for name in sorted(names)}


def version(distribution: str) -> str:
    """The installed version; importlib.metadata parses all that is known of a distribution for it."""
    found = Distribution.from_name(distribution)
    line = re.search(r"^Version: *(\S+)", found.read_text("METADATA") or "", re.MULTILINE)
    return line[1] if line else found.version


@cache
def _version(distribution: str) -> str:
    """An installed version without its local part: torch 2.13.0+cpu and +cu130 are placement, not identity."""
    try:
        return version(distribution).split("+")[0]
    except PackageNotFoundError:
        raise UserError(
            f"the library {distribution!r} is not installed", "run `make install`, or pip install it"
        ) from None
