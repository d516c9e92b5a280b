"""Run the pipeline for many settings, and compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows import settings
from flows.cli import tables as display
from flows.cli.options import ConfigFile, console, write_json
from flows.config import TINY, load
from flows.sweeps.search import Engine, Search, values
from flows.wording import duration

if TYPE_CHECKING:
    from flows.sweeps.outcome import Outcome
    from flows.sweeps.trials import TrialPlan


def sweep(
    config: ConfigFile = TINY,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            help="Values of one setting, e.g. `-s train.lora.r=8,16,32`, or, for optuna, a range, "
            "`-s train.learning_rate=1e-5..1e-3`. May be repeated.",
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="grid: every combination. optuna: trials chosen by the losses of those before them."),
    ] = "grid",
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials optuna makes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of optuna's choices; another seed begins with other trials.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what each trial would run, and at what cost; run nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines: the trials, the best, the notes.")] = False,
) -> None:
    """Run the pipeline for many combinations of settings, and compare the trials. Nothing is promoted.

    `reground sweep -s train.lora.r=8,16,32 -s train.learning_rate=1e-4,2e-4` runs 3 × 2 trials.
    `-s train.lora.target_modules=all-linear,[q_proj,v_proj]` tries a word and a list.
    A setting with one value, `-s train.epochs=2`, holds for all.

    `reground sweep -s train.lora.r=8,16 -s train.learning_rate=1e-5..1e-3 --engine optuna --trials 12` runs 12 trials:
    5 at random, then each where the losses so far promise most. A range of a decade or more is tried on a log scale.
    More `--trials` later go on from there. A dry run lists those trials that depend on no result.

    What the trials have in common is made once: validation, dataset, the base's answers. A sweep that was interrupted
    goes on where it was when it is run again; when a trial fails, the others go on. The best is the one of least
    held-out loss: `reground retrain` with its settings finds all cached, and promotes by the gate.

    Exits with 0 if a trial succeeded, or with 2 for a mistake.
    """
    from flows.sweeps.trials import preview

    search = Search(config=load(config), over=values(overrides or ()), engine=engine, trials=trials, seed=seed)
    plans = preview(search)
    if dry_run:
        write_json([_as_json(plan) for plan in plans]) if json else _show_plans(search, plans)
        return
    settings.for_terminal()
    from flows.orchestration.run import ON_STEP
    from flows.orchestration.stopping import in_terminal
    from flows.sweep import Sweep
    from flows.sweep import sweep as flow
    from flows.sweeps.outcome import Outcome

    if not json:
        ON_STEP.set(display.on_step(console))
    with in_terminal():
        state: Any = flow(Sweep(**dict(search)), return_state=True)
        plain = state.result()
    write_json(plain) if json else _show(Outcome.of(plain))


def _show_plans(search: Search, plans: "list[TrialPlan]") -> None:
    from flows.sweeps.trials import AT_RANDOM, scales

    rows = []
    for plan in plans:
        steps = ", ".join(step.label for step in plan.runs) or "nothing: all is there"
        known = all(step.seconds is not None for step in plan.runs)
        cost = duration(sum(step.seconds or 0.0 for step in plan.runs)) if known else "not known"
        rows.append([str(plan.trial.number), *map(str, plan.trial.settings.values()), steps, cost])
    console.print(_table("trial", *search.varied, "runs", "will take", rows=rows))
    costs = [step.seconds for plan in plans for step in plan.runs]
    unknown = costs.count(None)
    total = f"about {duration(sum(filter(None, costs)))} by earlier records"
    cost = total if len(costs) > unknown else "no record tells the cost"
    rest = f"; {unknown} of them never ran here" if 0 < unknown < len(costs) else ""
    lines = [
        f"\n{len(plans)} trials, {len(costs)} steps to run: {cost}{rest}.",
        *(f"{each}." for each in scales(search)),
    ]
    if (search.trials or 0) > AT_RANDOM:
        lines.append(f"Trials from {AT_RANDOM + 1} on are chosen by the losses of those before, and are not known yet.")
    console.print("\n".join(lines), highlight=False)


def _as_json(plan: "TrialPlan") -> dict[str, Any]:
    return {
        "trial": plan.trial.number,
        "settings": plan.trial.settings,
        "runs": [step.line for step in plan.runs],
        "shared": [step.label for step in plan.shared],
    }


def _show(outcome: "Outcome") -> None:
    from flows.sweeps.outcome import cells, head

    rows = []
    for row in outcome.rows:
        mark = "★" if row is outcome.best else " "
        figures = [f"failed {row.error.splitlines()[0]}"] if row.error else cells(row)
        rows.append([f"{mark} {row.number}", *map(str, row.settings.values()), *figures])
    names = [name.rpartition(".")[2] for name in outcome.rows[0].settings]
    console.print()
    console.print(_table("trial", *names, *head(outcome), rows=rows))
    for row in outcome.rows:
        if row.error:
            console.print(f"\n[red]trial {row.number}[/]: {escape(row.error)}", highlight=False)
    console.print(f"\n[bold]{escape(outcome.headline)}[/]", highlight=False)
    for note in outcome.notes:
        console.print(f"[dim]{escape(note)}[/]", highlight=False)


def _table(*titles: str, rows: list[list[str]]) -> Table:
    table = Table(*titles, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        style = "bold green" if row[0].startswith("★") else None
        table.add_row(*map(escape, row), style=style)
    return table
