"""Which adapter is in service: put it into service, take it out, list and compare."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from flows.cli.options import Overrides, WhichStore, console, open_store, write_json
from flows.config import TINY, load
from tasks.engine.errors import UserError


def promote(
    adapter: Annotated[
        str | None, typer.Argument(help="Key or alias of an adapter. Without it: the challenger.", show_default=False)
    ] = None,
    because: Annotated[str, typer.Option(help="Why; without it the gate's own reason. It stays in the log.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Against the gate, or after a rollback; say why.")] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="Only bring the MLflow registry up to date.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Put an adapter into service, if its gate says so.

    It must be intact, and its gate must have compared it with today's champion. `--force --because "…"` overrides the
    gate, on the record. Exits with 0 if the adapter is in service, with 2 if it was not promoted.
    """
    from flows.promotion import decisions, registry, view

    tree = load(config, overrides or ())
    store, model, serving = tree.open_store(), tree.promotion.mlflow, tree.promotion.serving
    if not mirror:
        decision = decisions.promote(store, adapter, because=because, force=force, public_key=serving.public_key)
        text = view.sentence(decisions.followed(store, decision, model, serving))
    elif model:
        text = view.mirrored(registry.mirror(store, model))
    else:
        raise UserError("promotion.mlflow names no registered model", "set it: `-s promotion.mlflow=NAME`")
    console.print(text, highlight=False)


def rollback(
    because: Annotated[str, typer.Option(help="Why; it stays in the log.")],
    adapter: Annotated[
        str | None, typer.Argument(help="The one to take out. Without it: the champion.", show_default=False)
    ] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Take the champion out of service and bring back the adapter before it, at once.

    No retraining promotes it again; only `reground promote --force --because "…"` does. A second rollback goes one
    further back, and needs the name of the adapter that it takes out. Exits with 2 if nothing was changed.
    """
    from flows.promotion import decisions, view

    tree = load(config, overrides or ())
    store = tree.open_store()
    decision = decisions.rollback(store, adapter, because=because)
    done = decisions.followed(store, decision, tree.promotion.mlflow, tree.promotion.serving)
    console.print(view.sentence(done), highlight=False)


def versions(
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the champions' gains over time.")] = None,
) -> None:
    """List the adapters by what became of them: which is in service, since when, by whose decision and why.

    `champion` is in service, `previous` comes back on a rollback, a `challenger` waits for a decision. Figures are
    changes against the champion at the time, on the questions that are named; those of other lines may be others.
    `reground artifacts` lists everything else.
    """
    from flows.promotion import view
    from flows.promotion.versions import versions as known

    store = open_store(config, overrides)
    lines = known(store)
    if html:
        from tasks.reporting import history

        html.write_text(history.html(view.history_entries(store)), encoding="utf-8")
    if json:
        write_json([each.model_dump() for each in lines])
    else:
        view.versions_table(console, lines)


def compare(
    first: Annotated[
        str, typer.Argument(help="An adapter, gate, report or scores, by key or alias; or `base`, `base_shots`.")
    ],
    second: Annotated[str, typer.Argument(help="Another one.")],
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Show which metrics differ between two adapters, e.g. `reground compare previous champion`.

    From scores that are in the store, on the evaluation questions that both answered, and says on which; nothing is
    answered or scored for it. Exits with 2 if there are none, or several sets of them: `score/KEY score/KEY` names one.
    """
    from flows.promotion import view
    from flows.promotion.compare import compare as compared

    comparison = compared(open_store(config, overrides), first, second)
    if json:
        write_json(comparison.model_dump())
    else:
        view.comparison_table(console, comparison)


def pin(
    report: Annotated[
        str | None, typer.Argument(help="Key or alias of a report. Without it: the newest.", show_default=False)
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The list; without it the file that gate.must_hold names.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Of the questions that got lost only these ids.")] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Put the questions that got lost on the list of those that must hold, so that the same failure never passes twice.

    Lost are those that the adapter in service (without one, the base) dealt with rightly and the new one did not, by
    the report. From then on the gate refuses an adapter that is wrong on one of the list, and names it. Adds what the
    list does not have, shows it, and may be repeated; `--only ID` takes some. To take a question off the list, delete
    its line.
    """
    from tasks.evaluation.gating.questions import pin as add

    tree = load(config, overrides or ())
    path = to or (Path(tree.gate.must_hold) if tree.gate.must_hold else None)
    if path is None:
        raise UserError(
            "gate.must_hold names no file", "set it in the config: `must_hold: questions.jsonl`, or give --to"
        )
    store = tree.open_store()
    found = store.match(report) if report else next(iter(store.recent("report", most=1)), None)
    if found is None or found.step != "report":
        raise UserError(f"{report or store.url}: no report", "`reground retrain` makes one")
    content = orjson.loads((store.fetch(found, ["report.json"]) / "report.json").read_bytes())
    against, lost = content["mistakes"]["against"], [each for each in content["answers"] if each["lost"]]
    if unknown := set(only or ()) - {each["id"] for each in lost}:
        raise UserError(
            f"{', '.join(sorted(unknown))}: not lost by {found.about}", "see “What it got wrong” of the report"
        )
    wanted = [each | {"answer": each["tuned"]["answer"]} for each in lost if not only or each["id"] in only]
    new = add(path, wanted)
    for each in new:
        console.print(f"+ {each['id']}: {each['query']}", markup=False, highlight=False)
    before = {"base": "the base", "champion": "the adapter in service"}[against]
    console.print(
        f"{path}: {len(new)} of {len(wanted)} questions added that {before} had right and {found.about} lost.",
        markup=False,
        highlight=False,
    )
    if not tree.gate.must_hold:
        console.print(f"Let the gate ask for them: `gate: {{must_hold: {path}}}`.", markup=False, highlight=False)
