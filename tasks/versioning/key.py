"""The key: what a step's output is made from, as one hash."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.errors import UserError
from tasks.versioning.code import ROOT, code_of
from tasks.versioning.inputs import Input, Inputs, sha256_file, sha256_json
from tasks.versioning.step import RUNTIME, Config, Step

Payload = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One call of a step: what it would make, before anyone asks whether that exists.

    `label` tells two calls of one step apart for people ("answer base", "answer tuned"); it is not identity.
    """

    step: Step
    config: Config
    inputs: Inputs
    label: str

    @property
    def known(self) -> bool:
        """Whether every input exists, so that the key can be told."""
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
    plain: dict[str, Any] = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        if RUNTIME in field.metadata:
            del plain[name]
        elif isinstance(value := getattr(config, name), Config):
            plain[name] = identity(value)
    return plain


def _code(step: Step) -> dict[str, str]:
    code = code_of(step.function.__module__, step.function.__name__)
    for resource in step.resources:
        code[resource] = sha256_file(ROOT / resource)
    return code


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of these distributions, sorted by name."""
    return {name: _version(name) for name in sorted(names)}


@cache
def _version(distribution: str) -> str:
    """An installed version without its local part: torch 2.13.0+cpu and +cu130 are placement, not identity."""
    try:
        return version(distribution).split("+")[0]
    except PackageNotFoundError:
        raise UserError(
            f"the library {distribution!r} is not installed", "run `make install`, or pip install it"
        ) from None


def differences(old: Payload, new: Payload) -> list[str]:
    """What changed between two keys, down to the field: `config.lora.r: 8 → 16`, `code: tasks.score:score`."""
    reasons = []
    for field, before, after in _changed(old.get("config", {}), new["config"]):
        reasons.append(f"config.{field}: {_short(before)} → {_short(after)}")
    for name, before, after in _changed(old.get("inputs", {}), new["inputs"]):
        how = "changed" if before and after else "added" if after else "removed"
        reasons.append(f"input {name} {how}")
    for name, before, after in _changed(old.get("code", {}), new["code"]):
        how = "changed" if before and after else "added" if after else "removed"
        reasons.append(f"code {name} {how}")
    for name, before, after in _changed(old.get("libraries", {}), new["libraries"]):
        reasons.append(f"library {name}: {before} → {after}")
    return reasons


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, before, after) of every leaf that differs; None where there is none."""
    found: list[tuple[str, Any, Any]] = []
    for name in [*old, *(n for n in new if n not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _changed(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append((prefix + name, before, after))
    return found


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


__all__ = ["Input", "Payload", "Request", "differences", "identity"]
