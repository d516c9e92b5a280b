"""What this machine has, and what a config lacks on it."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows import settings
from flows.config import TINY, load
from flows.doctor.finding import Finding, Mark
from flows.doors.shell import ConfigFile, Overrides, console, write_json

SIGNS: dict[Mark, str] = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "bad": "[bold red]✗[/]"}


def doctor(
    config: ConfigFile = TINY,
    overrides: Overrides = None,
    json: Annotated[
        bool, typer.Option("--json", help="The same for machines: topic, what, mark, value, remedy.")
    ] = False,
) -> None:
    """Say what this machine has, what is missing for a config, and how to mend it; change nothing.

    `✓` is as it should be. `!` is optional, or worth a look: no Prefect server, no GPU for a config that does not ask
    for one. `✗` would make a run of this config fail here, or already did: a library that is too new, a gated model, a
    store that cannot be written. Name the config that you mean to run, and run this where it will run: on the worker.

    Checks: libraries, machine, GPU (4-bit products are really computed), memory (coarsely estimated), base model, data,
    store (a probe is written and deleted), Prefect (server, pools, workers, deployments, limits).

    Exits with 0 if nothing is `✗`, else with 1; with 2 for a mistake such as a misspelt setting.
    """
    tree = load(config, overrides or ())
    settings.for_terminal()
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
