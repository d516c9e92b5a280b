"""The trials of a sweep, as Optuna's samplers propose them, and what each of them would run.

There is no database of a study. A grid is known at once. What the TPE sampler proposes depends on the seed and on the
losses that it is given, and a trial whose steps are in the store costs nothing. So a sweep that was interrupted, or is
to have more trials, is run again from its first trial, gets the same losses, and comes to the same trials again.
Another seed, other values or another version of Optuna begin another study; so may artifacts that are lost and come out
different when they are made again, as on a GPU, and a trial that failed and no longer does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any

from flows.config import Retrain, change
from flows.pipeline import planned
from flows.sweeps.outcome import Outcome, Row
from flows.sweeps.search import EXAMPLE, Range, Search, word
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.key import identity
from tasks.engine.plan import Planned, Planner

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

AT_RANDOM = 5  # trials before the first choice by losses; Optuna's own 10 is for studies of a hundred
MAY_BE_NUMBERS = (int, float, type(None))  # of a setting without a value, the config decides
DIGITS = 3  # of a number that is tried: 3.27e-05 can be read and typed, and no loss depends on the fourth
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One combination; `settings` holds what differs between trials, `config` all."""

    number: int
    settings: dict[str, Any]
    config: Retrain

    @classmethod
    def of(cls, search: Search, number: int, chosen: Settings) -> "Trial":
        """Raises UserError, as `flows.config.load` does, if the config refuses what is chosen."""
        settings = {name: value for name, value in chosen.items() if name in search.varied}
        return cls(number, settings, change(search.config, [f"{name}={word(value)}" for name, value in chosen.items()]))

    @property
    def overrides(self) -> list[str]:
        """As the terminal takes them: `train.lora.r=8`."""
        return [f"{name}={word(value)}" for name, value in self.settings.items()]

    @property
    def name(self) -> str:
        return f"trial {self.number} · {', '.join(self.overrides)}"


@dataclass
class TrialPlan:
    """What a trial would do, given the trials before it."""

    trial: Trial
    planner: Planner
    runs: list[Planned] = field(default_factory=list)  # not in the store, and no earlier trial makes it
    shared: list[Planned] = field(default_factory=list)  # an earlier trial makes it


def proposed(search: Search, rows: list[Row]) -> Iterator[Trial]:
    """All trials, one by one. A trial's row must be in `rows` before the next is asked for.

    A combination that the config refuses raises UserError in a grid. By losses, its row is added here: to Optuna it is
    a failed trial, and so are those that fail later. A combination may be proposed twice: all its steps are cached.

    Raises UserError if the losses cannot be compared, or there are none.
    """
    return _grid(search) if search.engine == "grid" else _by_losses(search, rows)


def distinct(search: Search) -> list[list[Trial]]:
    """Trials that must differ in their results, in groups: the grid, or, by losses, the values of each setting alone.

    Of a range these are its ends, while other settings are at their first. Raises UserError for all that is wrong with
    the search, as far as it is known before a trial has run.
    """
    if not search.varied:
        raise UserError("a sweep needs a setting with two values or more", f"--set {EXAMPLE}")
    if search.engine == "grid":
        return [list(_grid(search))]
    if search.trials is None:
        raise UserError("engine optuna needs a number of trials", "add it, e.g. --engine optuna --trials 12")
    for name, each in _ranges(search).items():
        if type(_current(search.config, name)) not in MAY_BE_NUMBERS:
            raise UserError(f"{name} is no number, and {each} is a range", "list its values, with commas between")
    return [
        [Trial.of(search, number, _first(search) | {name: value}) for number, value in enumerate(_ends(each), start=1)]
        for name, each in search.over.items()
        if name in search.varied
    ]


def preview(search: Search) -> list[TrialPlan]:
    """Plans of all trials that are known before any has run: a grid, or those that are drawn before losses count.

    Raises UserError as `distinct` and `plans` do.
    """
    groups = [plans(group) for group in distinct(search)]
    if search.engine == "grid":
        return groups[0]
    any_loss = [Row(0, {}, heldout_loss=0.0)]
    return plans(list(islice(_by_losses(search, any_loss), AT_RANDOM)), may_repeat=True)


def plans(trials: Sequence[Trial], *, may_repeat: bool = False) -> list[TrialPlan]:
    """What each trial would do; runs nothing.

    Unless they `may_repeat`, raises UserError if two trials would give the same: from values that are equal, or a
    setting that enters no step.
    """
    found: list[TrialPlan] = []
    made: set[str] = set()
    outcomes: dict[str, Trial] = {}
    for trial in trials:
        plan = TrialPlan(trial, planned(trial.config)[0])
        digests = _digests(plan.planner)
        if not may_repeat:
            _refuse_the_same(trial, outcomes.setdefault(sha256_json(digests), trial))
        for step in plan.planner.steps:
            if step.status != "fresh":
                (plan.shared if digests[step.label] in made else plan.runs).append(step)
        made |= set(digests.values())
        found.append(plan)
    return found


def scales(search: Search) -> list[str]:
    """For people, how each range is tried: `train.learning_rate from 1e-05 to 0.001 on a log scale`."""
    return [
        f"{name} from {each.low:g} to {each.high:g} on a {'log' if _is_log(each) else 'linear'} scale"
        for name, each in _ranges(search).items()
    ]


def _ranges(search: Search) -> dict[str, Range]:
    return {name: each for name, each in search.over.items() if isinstance(each, Range)}


def _grid(search: Search) -> Iterator[Trial]:
    """Every combination, the last setting changing fastest. Optuna's sampler shuffles them."""
    import optuna

    instead = "or add --engine optuna --trials 12"
    if search.trials is not None or search.seed:
        what = "trials and seed are for optuna; a grid has a trial for every combination"
        raise UserError(what, f"leave them out, {instead}")
    for name, each in _ranges(search).items():
        raise UserError(f"{name}={each} is a range, and a grid has values", f"list them, {instead}")
    indices = {name: range(len(_ends(search.over[name]))) for name in search.varied}
    study, space = _study(optuna.samplers.GridSampler(indices)), _space(search)
    asked = [study.ask(space).params for _ in range(prod(map(len, indices.values())))]
    asked.sort(key=lambda params: [params[name] for name in search.varied])
    for number, params in enumerate(asked, start=1):
        yield Trial.of(search, number, _chosen(search, params))


def _by_losses(search: Search, rows: list[Row]) -> Iterator[Trial]:
    import optuna

    study = _study(optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=search.seed))
    space = _space(search)
    for number in range(1, (search.trials or 0) + 1):
        asked = study.ask(space)
        chosen = _chosen(search, asked.params)
        try:
            trial = Trial.of(search, number, chosen)
        except UserError as error:
            rows.append(Row(number, {name: chosen[name] for name in search.varied}, error=str(error)))
        else:
            yield trial
        loss = rows[-1].heldout_loss
        if rows[-1].error:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        elif loss is None or not Outcome(rows).best:
            raise UserError(f"optuna chooses by held-out loss. {Outcome(rows).notes[0]}", "sweep these as a grid")
        else:
            study.tell(asked, loss)


def _study(sampler: Any) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler)


def _space(search: Search) -> "dict[str, BaseDistribution]":
    """A list is tried by its indices, because Optuna keeps no values that are lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def of(name: str, each: Range | Sequence[Any]) -> "BaseDistribution":
        if not isinstance(each, Range):
            return CategoricalDistribution(range(len(each)))
        if isinstance(_current(first, name), int):
            return IntDistribution(int(each.low), int(each.high), log=_is_log(each))
        return FloatDistribution(each.low, each.high, log=_is_log(each))

    first = Trial.of(search, 0, _first(search)).config
    return {name: of(name, search.over[name]) for name in search.varied}


def _is_log(each: Range) -> bool:
    """From a decade on: 1 to 10 and 1e-5 to 1e-3, but not 0 to 0.5."""
    return 0 < each.low * 10 <= each.high


def _chosen(search: Search, params: Settings) -> dict[str, Any]:
    """The value of each setting for what a sampler proposes: indices into lists, and numbers."""

    def value(each: Range | Sequence[Any], proposed: Any) -> Any:
        if not isinstance(each, Range):
            return each[proposed]
        if isinstance(proposed, int):
            return proposed
        return min(max(float(f"{proposed:.{DIGITS}g}"), each.low), each.high)

    return {name: value(each, params.get(name, 0)) for name, each in search.over.items()}


def _ends(each: Range | Sequence[Any]) -> Sequence[Any]:
    return [each.low, each.high] if isinstance(each, Range) else each


def _first(search: Search) -> dict[str, Any]:
    return {name: _ends(each)[0] for name, each in search.over.items()}


def _current(config: Retrain, name: str) -> Any:
    """A setting's value; None if there is none of this name, which the config refuses by itself."""
    place: Any = config.model_dump(by_alias=True)
    for part in name.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    return place


def _digests(planner: Planner) -> dict[str, str]:
    """By label, what a step is made from, through steps that have yet to run."""
    found: dict[str, str] = {}
    for each in planner.steps:
        request = each.request
        sources = {n: source and (source.digest or found[source.about]) for n, source in request.inputs.items()}
        found[each.label] = sha256_json([request.step.name, identity(request.config), sources])
    return found


def _refuse_the_same(trial: Trial, other: Trial) -> None:
    if trial is other:
        return
    differs = [name for name, value in trial.settings.items() if other.settings[name] != value]
    pairs = [f"{name}={word(other.settings[name])} and {word(trial.settings[name])}" for name in differs]
    what = ", ".join(pairs) or f"{', '.join(trial.overrides)} twice"
    raise UserError(
        f"{what}: trials {other.number} and {trial.number} would give the same result, "
        "because no step is made from what differs",
        "sweep a setting that changes a result, such as train.lora.r; runtime settings, `name` and `promotion` do not",
    )
