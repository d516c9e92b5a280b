"""What a sweep tries: every combination of the values given, each a config that differs from the others in effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import orjson
import yaml

from flows.config import Retrain, change
from flows.pipeline import planned
from tasks.errors import UserError
from tasks.versioning.inputs import sha256_json
from tasks.versioning.key import identity
from tasks.versioning.plan import Planned, Planner

Over = Mapping[str, Sequence[Any]]  # setting → its values
EXAMPLE = "e.g. train.lora.r=8,16,32; a value that is a list has brackets: train.lora.target_modules=[q_proj],[v_proj]"


@dataclass(frozen=True)
class Trial:
    """One combination; `settings` holds what differs between trials, `config` all."""

    number: int
    settings: dict[str, Any]
    config: Retrain

    @property
    def overrides(self) -> list[str]:
        """As the terminal takes them: `train.lora.r=8`."""
        return [f"{name}={_word(value)}" for name, value in self.settings.items()]

    @property
    def name(self) -> str:
        return f"trial {self.number} · {', '.join(self.overrides)}"


@dataclass
class Look:
    """What a trial would do, given the trials before it."""

    trial: Trial
    planner: Planner
    runs: list[Planned] = field(default_factory=list)  # not in the store, and no earlier trial makes it
    shared: list[Planned] = field(default_factory=list)  # an earlier trial makes it


def values(settings: Sequence[str]) -> dict[str, list[Any]]:
    """`train.lora.r=8,16,32` as {"train.lora.r": [8, 16, 32]}; the values are YAML, between commas.

    Raises UserError for what is no such list, and for a setting that is given twice.
    """
    found: dict[str, list[Any]] = {}
    for each in settings:
        name, equals, text = each.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"cannot read the setting {each!r}", f"write it as name=value,value: {EXAMPLE}")
        if name in found:
            raise UserError(f"{name} is given twice", f"give all of its values at once: {EXAMPLE}")
        try:
            found[name] = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or error
            raise UserError(f"{name}: {text!r} is no list of values: {problem}", EXAMPLE) from None
        if not found[name]:
            raise UserError(f"{name} has no value", f"give at least one, null for none: {EXAMPLE}")
    return found


def trials(config: Retrain, over: Over) -> list[Trial]:
    """The grid, the last setting changing fastest. Raises UserError as `flows.config.load` does, and without values."""
    if not any(len(each) > 1 for each in over.values()):
        raise UserError("a sweep needs a setting with two values or more", f"--set {EXAMPLE}")
    found = []
    for number, combination in enumerate(product(*over.values()), start=1):
        chosen = dict(zip(over, combination, strict=True))
        overrides = [f"{name}={_word(value)}" for name, value in chosen.items()]
        settings = {name: value for name, value in chosen.items() if len(over[name]) > 1}
        found.append(Trial(number, settings, change(config, overrides)))
    return found


def looks(grid: Sequence[Trial]) -> list[Look]:
    """What each trial would do; runs nothing.

    Raises UserError if two trials would give the same: from values that are equal, or a setting that enters no step.
    """
    found: list[Look] = []
    made: set[str] = set()
    outcomes: dict[str, Trial] = {}
    for trial in grid:
        look = Look(trial, planned(trial.config)[0])
        prints = _prints(look.planner)
        _refuse_the_same(trial, outcomes.setdefault(sha256_json(prints), trial))
        for step in look.planner.steps:
            if step.status != "fresh":
                (look.shared if prints[step.label] in made else look.runs).append(step)
        made |= set(prints.values())
        found.append(look)
    return found


def _prints(planner: Planner) -> dict[str, str]:
    """By label, what a step is made from, through steps that have yet to run."""
    told: dict[str, str] = {}
    for each in planner.steps:
        request = each.request
        sources = {n: source and (source.digest or told[source.about]) for n, source in request.inputs.items()}
        told[each.label] = sha256_json([request.step.name, identity(request.config), sources])
    return told


def _refuse_the_same(trial: Trial, other: Trial) -> None:
    if trial is other:
        return
    differs = [name for name, value in trial.settings.items() if other.settings[name] != value]
    told = [f"{name}={_word(other.settings[name])} and {_word(trial.settings[name])}" for name in differs]
    what = ", ".join(told) or f"{', '.join(trial.overrides)} twice"
    raise UserError(
        f"{what}: trials {other.number} and {trial.number} would give the same result, "
        "because no step is made from what differs",
        "sweep a setting that changes a result, such as train.lora.r; runtime settings, `name` and `promotion` do not",
    )


def _word(value: Any) -> str:
    """A value as YAML that is short: bare words as they are, the rest as JSON."""
    if isinstance(value, str) and yaml.safe_load(value or "null") == value:
        return value
    return orjson.dumps(value, default=str).decode()
