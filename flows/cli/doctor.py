"""What this machine has, and what a config lacks on it."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows import settings
from flows.cli.options import ConfigFile, Overrides, console, write_json
from flows.config import TINY, load
from flows.doctor.finding import Finding, Mark, gib
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from flows.doctor.fit import Table as FitTable
    from tasks.training.memory import Need

SIGNS: dict[Mark, str] = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "bad": "[bold red]✗[/]"}


def doctor(
    config: ConfigFile = TINY,
    overrides: Overrides = None,
    json: Annotated[
        bool, typer.Option("--json", help="The same for machines: topic, what, mark, value, remedy.")
    ] = False,
    fit: Annotated[
        bool, typer.Option("--fit", help="Instead: how much memory a training step takes, form by form.")
    ] = False,
    memory: Annotated[
        str | None, typer.Option("--memory", help="With --fit: a card that is not here, e.g. 24GB.", show_default=False)
    ] = None,
) -> None:
    """Say what this machine has, what is missing for a config, and how to mend it; change nothing.

    `✓` is as it should be. `!` is optional, or worth a look: no Prefect server, no GPU for a config that does not ask
    for one. `✗` would make a run of this config fail here, or already did: a library that is too new, a gated model, a
    store that cannot be written. Name the config that you mean to run, and run this where it will run: on the worker.

    Checks: libraries, machine, GPU (4-bit products are really computed), memory (predicted), base model, data,
    store (a probe is written and deleted), Prefect (server, pools, workers, deployments, limits).

    With `--fit` a table: what each micro-batch takes, with and without gradient checkpointing, of which effective
    batch nothing changes; on which cards it fits; and which of them `train.fit: auto` would take.

    Exits with 0 if nothing is `✗`, or something fits, else with 1; with 2 for a mistake such as a misspelt setting.
    """
    tree = load(config, overrides or ())
    settings.for_terminal()
    if fit or memory:
        from flows.doctor.fit import card, here, table

        found_fit = table(tree, card(f"a card of {memory}", _bytes(memory)) if memory else here(tree))
        write_json(_told(found_fit)) if json else _show_fit(found_fit)
        raise typer.Exit(found_fit.chosen is None)
    from flows.doctor.examine import examine

    found = list(examine(tree))
    if json:
        write_json([{"topic": topic, **finding._asdict()} for topic, finding in found])
    else:
        _show(found)
    raise typer.Exit(any(finding.mark == "bad" for _, finding in found))


def _show(found: list[tuple[str, Finding]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("sign", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("value")
    last = ""
    for topic, finding in found:
        if topic != last and last:
            table.add_section()
        last = topic
        remedy = f"\n[dim]→[/] {escape(finding.remedy)}" if finding.remedy else ""
        table.add_row(SIGNS[finding.mark], escape(finding.what), escape(finding.value) + remedy)
    console.print(table, highlight=False)
    count = sum(finding.mark == "bad" for _, finding in found)
    verdict = f"{count} to mend before this config can run." if count else "Nothing stands in the way of a run."
    console.print(f"\n{verdict}", highlight=False)


def _bytes(size: str) -> int:
    """`24GB`, `24 GiB` or `24`: cards are sold in GB and measured in GiB."""
    told = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:Gi?B?)?", size.strip(), re.IGNORECASE)
    if not told:
        raise UserError(f"--memory is {size!r}", "write a card's size as 24GB")
    return round(float(told[1]) * 2**30)


def _columns(need: "Need") -> dict[str, int]:
    return {
        "weights": need.weights,
        "adapter, optimizer": need.adapter + need.optimizer,
        "activations": need.activations,
        "head": need.head,
        "total": need.total,
    }


def _told(found: "FitTable") -> dict[str, Any]:
    lines = [
        {
            **row.fit._asdict(),
            "checkpointing": row.checkpointing,
            **{name.replace(", ", "_"): size for name, size in _columns(row.need).items()},
            "open": row.allowed,
            "fits": row.need.total <= found.room.room,
            "chosen": row == found.chosen,
        }
        for row in found.rows
    ]
    return {"where": found.room.where, "room": round(found.room.room), "rows": lines}


def _show_fit(found: "FitTable") -> None:
    from flows.doctor.fit import SIZES, card

    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("at once")
    shown.add_column("check-\npointing")
    for name in (*_columns(found.rows[0].need), "fits\nhere", "on cards\nof GiB"):
        shown.add_column(name.replace(", ", ",\n"), justify="right")
    for row in found.rows:
        need = row.need.total
        sizes = [size for size in SIZES if need <= card("", size << 30).room] if found.room.cuda else []
        cards = f"{sizes[0]} and up" if sizes else "none" if found.room.cuda else "–"
        shown.add_row(
            f"{row.fit.micro_batch} × {row.fit.accumulation}",
            "on" if row.checkpointing else "off",
            *(gib(size) for size in _columns(row.need).values()),
            "[green]✓[/]" if need <= found.room.room else "[red]✗[/]",
            cards,
            style="bold" if row == found.chosen else None if row.allowed else "dim",
        )
    console.print(shown, highlight=False)
    where = f"{gib(found.room.room)} to be had on {found.room.where}"
    if found.chosen:
        way = "on" if found.chosen.checkpointing else "off"
        fit = found.chosen.fit
        said = f"train.fit: auto takes {fit.micro_batch} × {fit.accumulation}, checkpointing {way} ({where})."
    else:
        said = f"Nothing of this fits ({where}): lower build.max_tokens, or take a smaller base or a larger card."
    console.print(f"\n{said}", highlight=False)
