"""Which adapter is in service: put it into service, take it out, list and compare."""

from pathlib import Path
from typing import Annotated

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
    store, model = tree.open_store(), tree.promotion.mlflow
    if not mirror:
        decision = decisions.promote(store, adapter, because=because, force=force)
        text = view.sentence(decisions.with_registry(store, decision, model))
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
    console.print(view.sentence(decisions.with_registry(store, decision, tree.promotion.mlflow)), highlight=False)


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
