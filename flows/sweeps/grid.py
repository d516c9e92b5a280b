"""What a sweep tries: every combination of the values given, each a config that differs from the others in effect."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from flows.config import Retrain, change
from flows.pipeline import planned
from flows.sweeps.search import EXAMPLE, word
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.key import identity
from tasks.engine.plan import Planned, Planner

Lists = Mapping[str, Sequence[Any]]  # setting → its values


@dataclass(frozen=True)
class Trial:
    """One combination; `settings` holds what differs between trials, `config` all."""

    number: int
    settings: dict[str, Any]
    config: Retrain

    @classmethod
    def of(cls, number: int, chosen: Mapping[str, Any], *, varied: Collection[str], config: Retrain) -> "Trial":
        """`config` with all that is `chosen`, in which trials differ by the settings `varied`."""
        settings = {name: value for name, value in chosen.items() if name in varied}
        return cls(number, settings, change(config, [f"{name}={word(value)}" for name, value in chosen.items()]))

    @property
    def overrides(self) -> list[str]:
        """As the terminal takes them: `train.lora.r=8`."""
        return [f"{name}={word(value)}" for name, value in self.settings.items()]

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


def trials(config: Retrain, over: Lists) -> list[Trial]:
    """The grid, the last setting changing fastest. Raises UserError as `flows.config.load` does, and without values."""
    varied = [name for name, each in over.items() if len(each) > 1]
    if not varied:
        raise UserError("a sweep needs a setting with two values or more", f"--set {EXAMPLE}")
    combinations = (dict(zip(over, each, strict=True)) for each in product(*over.values()))
    return [Trial.of(number, each, varied=varied, config=config) for number, each in enumerate(combinations, start=1)]


def looks(grid: Sequence[Trial], *, repeats: bool = False) -> list[Look]:
    """What each trial would do; runs nothing.

    Unless `repeats` are as they should be, raises UserError if two trials would give the same: from values that are
    equal, or a setting that enters no step.
    """
    found: list[Look] = []
    made: set[str] = set()
    outcomes: dict[str, Trial] = {}
    for trial in grid:
        look = Look(trial, planned(trial.config)[0])
        prints = _prints(look.planner)
        if not repeats:
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
    told = [f"{name}={word(other.settings[name])} and {word(trial.settings[name])}" for name in differs]
    what = ", ".join(told) or f"{', '.join(trial.overrides)} twice"
    raise UserError(
        f"{what}: trials {other.number} and {trial.number} would give the same result, "
        "because no step is made from what differs",
        "sweep a setting that changes a result, such as train.lora.r; runtime settings, `name` and `promotion` do not",
    )
