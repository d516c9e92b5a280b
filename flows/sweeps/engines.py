"""Which trials a sweep makes: those of a grid, known at once, or Optuna's, one after the other."""

from collections.abc import Iterator

from flows.sweeps import optuna
from flows.sweeps.grid import Look, Trial, looks, trials
from flows.sweeps.outcome import Row
from flows.sweeps.search import Range, Search
from tasks.engine.errors import UserError


def contrasts(search: Search) -> list[list[Trial]]:
    """Trials that must differ in what they give, group by group; a grid is one group.

    Raises UserError for whatever is wrong with the search, as far as it can be told before a trial has run.
    """
    return optuna.contrasts(search) if search.engine == "optuna" else [_grid(search)]


def foreseen(search: Search) -> list[Look]:
    """What the trials would do that are known before any has run; raises UserError as `contrasts`, and as `looks`."""
    groups = [looks(each) for each in contrasts(search)]
    if search.engine == "optuna":
        return looks(optuna.at_random(search), repeats=True)
    return groups[0]


def proposed(search: Search, rows: list[Row]) -> Iterator[Trial]:
    """All trials. A trial's row must be in `rows` before the next is asked for: engines may choose by it."""
    return optuna.suggested(search, rows) if search.engine == "optuna" else iter(_grid(search))


def _grid(search: Search) -> list[Trial]:
    mend = "or add --engine optuna --trials 12"
    if search.trials is not None or search.seed:
        what = "trials and seed are for optuna; a grid has a trial for every combination"
        raise UserError(what, f"leave them out, {mend}")
    over = {name: each for name, each in search.over.items() if not isinstance(each, Range)}
    for name in search.over.keys() - over.keys():
        raise UserError(f"{name}={search.over[name]} is a range, and a grid has values", f"list them, {mend}")
    return trials(search.config, over)
