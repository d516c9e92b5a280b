"""Run the pipeline, or say what would run, or that a change is none."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from flows import settings
from flows.cli import tables as display
from flows.cli.options import ConfigFile, Overrides, console, write_json
from flows.config import TINY, Retrain, load

if TYPE_CHECKING:
    from flows.promotion.decisions import Retrained
    from tasks.engine.plan import Planner
    from tasks.engine.storage.store import Store


def retrain(config: ConfigFile = TINY, overrides: Overrides = None) -> None:
    """Run what is stale: validate → build → train → export → answer → score → gate → report → promote.

    A step whose data, config, code and libraries are as they were is taken from the store. When all are, nothing
    is started, and Prefect only to ask for an approval. The adapter goes into service if its gate says so and
    `promotion.mode` is auto.
    """
    from flows.pipeline import planned

    tree = load(config, overrides or ())
    planner, outcome = planned(tree)
    if planner.fresh:
        for step in planner.steps:
            display.step_done(console, step)
        planner.store.log_fresh_run(tree.name, planner.artifacts)
        folder = planner.artifacts["report"].folder
        settled = _settled(tree, planner.store, outcome)
    else:
        folder, settled = _run_flow(tree)
    display.comparison(console, orjson.loads((folder / "report.json").read_bytes()), folder)
    console.print(settled, highlight=False)


def _settled(tree: Retrain, store: "Store", outcome: "Retrained") -> str:
    """Settle what was fresh. Prefect only if it is to ask a person: the run that made the adapter may not have reached
    the deployment; one that was asked is not asked again."""
    from flows.promotion.view import sentence

    if not tree.promotion.asks:
        from flows.promotion.decisions import apply_decision

        return sentence(apply_decision(store, tree.promotion, outcome))
    settings.for_terminal()
    from flows.promote import apply_and_ask

    return sentence(apply_and_ask(store, tree.promotion, outcome, cache=tree.cache))


def _run_flow(tree: Retrain) -> tuple[Path, str]:
    """Run the flow in this process, on the Prefect server that is configured or else an ephemeral one.

    Returns the report's folder and what became of the adapter.
    """
    settings.for_terminal()
    from flows.orchestration.run import ON_STEP
    from flows.orchestration.stopping import in_terminal
    from flows.retrain import retrain as flow

    ON_STEP.set(display.on_step(console))
    with in_terminal():
        state: Any = flow(tree, return_state=True)
        result = state.result()
    return Path(result["report"]), result["promotion"]


def plan(
    config: ConfigFile = TINY,
    overrides: Overrides = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="For machines: the model `PlanLine` of tasks/engine/record.py per step."),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if a step would run, like `git diff --exit-code`.")
    ] = False,
) -> None:
    """Say what would run, why, and what it will take by earlier records; run nothing.

    `fresh`: the artifact is there and intact. `stale`: the step will run. `waits`: an earlier step will run first;
    should that write the same bytes as before, and no other reason be named, this one stays as it is. Below: how often
    the gate would promote a true gain on the evaluation set that there is, and what to change if that is seldom.

    Exits with 0, or with 2 for a mistake such as a misspelt setting; with `--exit-code` also with 1.
    """
    tree = load(config, overrides or ())
    planner = _planned(tree)
    if json:
        write_json([each.line for each in planner.steps])
    else:
        from flows import wording
        from flows.doctor.evaluation import planned_power

        against, found = planned_power(tree, planner)
        display.plan(console, planner.steps, wording.power(found, against))
    if exit_code and not planner.fresh:
        raise typer.Exit(1)


def _planned(tree: Retrain) -> "Planner":
    from flows.pipeline import planned

    return planned(tree)[0]


def adopt(
    step: Annotated[
        str,
        typer.Argument(
            help="A step as `reground plan` names it, or both of `answer` at once. `moved`: every artifact whose code "
            "only lies in other files now, which is proven and needs no reason."
        ),
    ],
    because: Annotated[str, typer.Option(help="Why the change cannot change the output; it goes on the record.")] = "",
    config: ConfigFile = TINY,
    overrides: Overrides = None,
) -> None:
    """Take over a step's artifact after a change of code or libraries that cannot change it, instead of running it.

    Refused if the config or an input changed as well; a new setting at its default is code. `reground show` and `why`
    tell of it ever after.
    """
    from tasks.engine.adopt import adopt as adopt_step
    from tasks.engine.adopt import adopt_moved

    def plan() -> "Planner":
        return _planned(load(config, overrides or ()))

    for artifact in adopt_moved(plan) if step == "moved" else adopt_step(plan(), step, because):
        adopted = artifact.record.adopted
        assert adopted is not None
        console.print(f"{artifact.record.label}: {artifact.about} adopted from {adopted.source}", highlight=False)
