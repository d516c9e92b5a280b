"""Which adapter is in service: into it, out of it, who was, and who is better."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import Overrides, WhichStore, console, open_store, write_json
from flows.config import TINY, Retrain, load
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from tasks.engine.storage.store import Store


def promote(
    adapter: Annotated[
        str | None, typer.Argument(help="Key or alias of an adapter. Without it: the challenger.", show_default=False)
    ] = None,
    because: Annotated[str, typer.Option(help="Why; without it the gate's own reason. It stays in the log.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Against the gate, or what was rolled back; say why.")] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="Only bring the MLflow registry up to date.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Put an adapter into service, if its gate says so.

    It must be whole, and its gate must have compared it with the champion of now. `--force --because "…"` goes past
    the gate, on the record. Exits with 0 if the adapter is in service, with 2 if it was not promoted.
    """
    from flows.promotion.decide import promote as decide

    tree = load(config, overrides or ())
    store = tree.open_store()
    console.print("" if mirror else decide(store, adapter, because=because, force=force), highlight=False, end="")
    _mirror(tree, store, required=mirror)


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
    further back, and wants the name of the adapter that it takes out. Exits with 2 if nothing was changed.
    """
    from flows.promotion.decide import rollback as decide

    tree = load(config, overrides or ())
    store = tree.open_store()
    console.print(decide(store, adapter, because=because), highlight=False, end="")
    _mirror(tree, store)


def _mirror(tree: Retrain, store: "Store", *, required: bool = False) -> None:
    """Bring the MLflow registry up to date if the config names one, and end the line."""
    if tree.promotion.mlflow:
        from flows.promotion.registry import mirror, mirrored

        told = mirror(store, tree.promotion.mlflow) if required else mirrored(store, tree.promotion.mlflow)
        console.print(told, highlight=False, end="")
    elif required:
        raise UserError("promotion.mlflow names no registered model", "set it: `-s promotion.mlflow=NAME`")
    console.print()


def versions(
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the champions' gains over time.")] = None,
) -> None:
    """List the adapters by what became of them: which is in service, since when, by whose decision and why.

    `champion` is in service, `previous` comes back on a rollback, a `challenger` waits for a decision. Figures are
    changes against the champion of then. `reground artifacts` lists everything else.
    """
    from flows.promotion import served
    from flows.promotion.versions import versions as known

    store = open_store(config, overrides)
    lines = known(store)
    if html:
        from tasks.reporting import history

        html.write_text(history.html([each.plain() for each in store.promotions.entries()]), encoding="utf-8")
    if json:
        write_json([each.plain() for each in lines])
    else:
        served.versions(console, lines)


def compare(
    first: Annotated[str, typer.Argument(help="An adapter, gate, report or scores, by key or alias; or `base`.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Tell which metrics differ between two adapters, e.g. `reground compare previous champion`.

    From scores that are in the store, on the same questions; nothing is answered or scored for it. Exits with 2 if
    the two were never scored on the same questions.
    """
    from flows.promotion import served
    from flows.promotion.comparing import compare as compared

    told = compared(open_store(config, overrides), first, second)
    if json:
        write_json(told)
    else:
        served.comparison(console, told)
