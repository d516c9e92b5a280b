"""Trials that Optuna chooses, each by the held-out losses of those before it (its TPE sampler).

There is no database of a study. What Optuna suggests depends on the seed and on what it was told, and a trial whose
steps are in the store costs nothing. So a sweep that was interrupted, or is to have more trials, is run again from its
first trial, is told the same losses, and comes to the same trials again. Another seed, other values or another version
of Optuna begin another study; so may artifacts that are lost and come out otherwise when made anew, as on a GPU, and a
trial that failed and no longer does.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flows.config import Retrain
from flows.sweeps.grid import Trial, trials
from flows.sweeps.outcome import Outcome, Row
from flows.sweeps.search import Range, Search
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

AT_RANDOM = 5  # trials before the first choice by losses; Optuna's own 10 is for studies of a hundred
MAY_BE_NUMBERS = (int, float, type(None))  # of a setting without a value, the config tells
DIGITS = 3  # of a number that is tried: 3.27e-05 can be read and typed, and no loss hangs on the fourth


def contrasts(search: Search) -> list[list[Trial]]:
    """For each setting its values, or the ends of its range, while the others are at their first.

    Raises UserError for all that can be told before a trial: Optuna is not installed, values that the setting refuses,
    a range of what is no number.
    """
    if not find_spec("optuna"):
        raise UserError("engine: optuna is not installed", "pip install 'reground[optuna]', or use the grid")
    if search.trials is None:
        raise UserError("optuna is not told how many trials to make", "say so, e.g. --engine optuna --trials 12")
    for name, each in search.over.items():
        if isinstance(each, Range) and type(_at(search.config, name)) not in MAY_BE_NUMBERS:
            raise UserError(f"{name} is no number, and {each} is a range", "list its values, with commas between")
    ends = {name: [each.low, each.high] if isinstance(each, Range) else each for name, each in search.over.items()}
    first = {name: each[:1] for name, each in ends.items()}
    found = [trials(search.config, {**first, name: ends[name]}) for name in search.varied]
    return found or [trials(search.config, first)]  # a grid of one, which is refused


def suggested(search: Search, rows: list[Row]) -> Iterator[Trial]:
    """`search.trials` trials, one chosen when the one before it has its row in `rows`, where the caller puts it.

    A combination that the config refuses has its row from here, and is told to Optuna as a failed trial, as those are
    that fail later. One that was tried already may be suggested again: all its steps are cached.

    Raises UserError if the losses cannot be compared, or there are none.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=search.seed)
    study = optuna.create_study(sampler=sampler)
    space = _space(search)
    for number in range(1, (search.trials or 0) + 1):
        asked = study.ask(space)
        chosen = {name: _value(each, asked.params.get(name, 0)) for name, each in search.over.items()}
        try:
            trial = Trial.of(number, chosen, varied=search.varied, config=search.config)
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


def at_random(search: Search) -> list[Trial]:
    """The trials that are drawn before losses count, whatever those will be."""
    first = search.model_copy(update={"trials": min(search.trials or 0, AT_RANDOM)})
    return list(suggested(first, [Row(0, {}, heldout_loss=0.0)]))


def scales(search: Search) -> list[str]:
    """For people, how each range is tried: `train.learning_rate from 1e-05 to 0.001 on a log scale`."""
    found = {name: each for name, each in search.over.items() if isinstance(each, Range)}
    return [
        f"{name} from {each.low:g} to {each.high:g} on a {'log' if _is_log(each) else 'linear'} scale"
        for name, each in found.items()
    ]


def _space(search: Search) -> "dict[str, BaseDistribution]":
    """A list is tried by its indices, because Optuna keeps no values that are lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, [least, *_] in zip(search.varied, contrasts(search), strict=True):
        each = search.over[name]
        if not isinstance(each, Range):
            found[name] = CategoricalDistribution(range(len(each)))
        elif isinstance(_at(least.config, name), int):
            found[name] = IntDistribution(int(each.low), int(each.high), log=_is_log(each))
        else:
            found[name] = FloatDistribution(each.low, each.high, log=_is_log(each))
    return found


def _is_log(each: Range) -> bool:
    """From a decade on: 1 to 10 and 1e-5 to 1e-3, but not 0 to 0.5."""
    return 0 < each.low * 10 <= each.high


def _value(each: Range | Sequence[Any], suggested: Any) -> Any:
    if not isinstance(each, Range):
        return each[suggested]
    if isinstance(suggested, int):
        return suggested
    return min(max(float(f"{suggested:.{DIGITS}g}"), each.low), each.high)


def _at(config: Retrain, name: str) -> Any:
    """A setting's value; None if there is none of this name, which the config refuses by itself."""
    place: Any = config.model_dump(by_alias=True)
    for part in name.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    return place
