"""`reground doctor`: what this machine has, and what a config lacks on it."""

import re
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import settings
from flows.cli.options import ConfigFile, Overrides, console, write_json
from flows.config import TINY, load
from flows.doctor.findings import Finding, Mark, gib
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from flows.doctor.training import Form, Room

SIGNS: dict[Mark, str] = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "bad": "[bold red]✗[/]"}
SIZES = (12, 16, 24, 48, 80)  # GiB of the cards that people have


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
    """Say what this machine has, what is missing for a config, and how to fix it; change nothing.

    `✓` is as it should be. `!` is optional, or worth a look: no Prefect server, no GPU for a config that does not ask
    for one. `✗` would make a run of this config fail here, or already did: a library that is too new, a gated model, a
    store that cannot be written. Name the config that you mean to run, and run this where it will run: on the worker.

    Checks: libraries, machine, GPU (4-bit products are really computed), memory (predicted), base model, data,
    store (a probe is written and deleted), Prefect (server, pools, workers, deployments, limits).

    With `--fit` a table: what each micro-batch of the same effective batch takes, with and without gradient
    checkpointing; on which cards it fits; and which of them `train.fit: auto` would take.

    Exits with 0 if nothing is `✗`, or something fits, else with 1; with 2 for a mistake such as a misspelt setting.
    """
    tree = load(config, overrides or ())
    settings.for_terminal()
    if fit or memory:
        from flows.doctor.training import card, forms, this_machine

        room = card(f"a card of {memory}", parse_size(memory)) if memory else this_machine(tree)
        found = forms(tree, room)
        if json:
            rows = [form._asdict() for form in found]
            write_json({"where": room.where, "room": round(room.size), "rows": rows})
        else:
            _print_forms(found, room)
        raise typer.Exit(not any(form.chosen for form in found))
    from flows.orchestration.service.state import use_running

    use_running()
    from flows.doctor.examine import examine

    findings = list(examine(tree))
    if json:
        write_json([{"topic": topic, **finding._asdict()} for topic, finding in findings])
    else:
        _print_findings(findings)
    raise typer.Exit(any(finding.mark == "bad" for _, finding in findings))


def parse_size(size: str) -> int:
    """`24GB`, `24 GiB` or `24`, in bytes: cards are sold in GB and measured in GiB."""
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:Gi?B?)?", size.strip(), re.IGNORECASE)
    if not parsed:
        raise UserError(f"--memory is {size!r}", "write a card's size as 24GB")
    return round(float(parsed[1]) * 2**30)


def _print_findings(found: list[tuple[str, Finding]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("sign", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("value")
    for _, findings in groupby(found, key=itemgetter(0)):
        for _, finding in findings:
            remedy = f"\n[dim]→[/] {escape(finding.remedy)}" if finding.remedy else ""
            table.add_row(SIGNS[finding.mark], escape(finding.what), escape(finding.value) + remedy)
        table.add_section()
    console.print(table, highlight=False)
    count = sum(finding.mark == "bad" for _, finding in found)
    verdict = f"{count} to fix before this config can run." if count else "Nothing stands in the way of a run."
    console.print(f"\n{verdict}", highlight=False)


def _print_forms(found: "list[Form]", room: "Room") -> None:
    from flows.doctor.training import card

    sizes = ("weights", "adapter_optimizer", "activations", "head", "total")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("at once")
    table.add_column("check-\npointing")
    for name in (*sizes, "fits\nhere", "on cards\nof GiB"):
        table.add_column(name.replace("_", ",\n"), justify="right")
    for form in found:
        cards = [size for size in SIZES if room.cuda and form.total <= card("", size << 30).size]
        table.add_row(
            f"{form.micro_batch} × {form.accumulation}",
            "on" if form.checkpointing else "off",
            *(gib(getattr(form, name)) for name in sizes),
            "[green]✓[/]" if form.fits else "[red]✗[/]",
            f"{cards[0]} and up" if cards else "none" if room.cuda else "–",
            style="bold" if form.chosen else None if form.open else "dim",
        )
    console.print(table, highlight=False)
    where = f"{gib(room.size)} available on {room.where}"
    chosen = next((form for form in found if form.chosen), None)
    if chosen:
        on = "on" if chosen.checkpointing else "off"
        verdict = f"train.fit: auto takes {chosen.micro_batch} × {chosen.accumulation}, checkpointing {on} ({where})."
    else:
        verdict = f"Nothing of this fits ({where}): lower build.max_tokens, or take a smaller base or a larger card."
    console.print(f"\n{verdict}", highlight=False)
