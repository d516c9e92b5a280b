"""What the store holds: artifacts, their names, its projects, what may go and what is damaged."""

import sys
from typing import Annotated

import typer

from flows.cli import tables as display
from flows.cli.options import Overrides, WhichArtifact, WhichStore, console, open_store, write_json
from flows.config import TINY
from flows.promotion.candidates import find, require_no_role, roles


def artifacts(
    step: Annotated[str | None, typer.Argument(help="Only this step, e.g. train.", show_default=False)] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """List the artifacts in the store, oldest first."""
    console.print(display.artifacts(open_store(config, overrides).all(step)))


def show(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The whole record, for machines.")] = False,
) -> None:
    """Show how an artifact came to be: what it was made from, why, when, by whom, at what cost."""
    found = find(open_store(config, overrides), artifact)
    if json:
        write_json(found.record)
    else:
        display.record(console, found)


def alias(
    name: Annotated[str | None, typer.Argument(help="Such as baseline.", show_default=False)] = None,
    artifact: Annotated[
        str | None, typer.Argument(help="A key or its first digits, or a step: its newest artifact.")
    ] = None,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Give an artifact a name, or list the names.

    `reground gc` keeps what has a name, with everything that it was made from. The names champion, previous and
    challenger are given by `reground promote` and `rollback` alone.
    """
    store = open_store(config, overrides)
    if name and artifact:
        found = find(store, artifact)
        require_no_role(name, found)
        store.point(name, found.step, found.key)
    names = store.aliases() | roles(store)
    console.print(display.aliases([each for known, each in sorted(names.items()) if name in (None, known)]))


def projects(
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Show what would move in a store that is older than projects.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --migrate: move it.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take a migration back.")] = False,
) -> None:
    """List the projects of a store: what each has in service, what waits, and its runs.

    A project is one answerer, by `project` in its config, else by its `name`. Champion, promotion log, aliases, runs,
    events and deployments are its own; artifacts are shared by all. A store that is older than projects works as it is,
    unless several configs promoted into its one log: `--migrate` shows how it would be parted, and `--migrate --yes`
    parts it. Nothing is deleted, and `--undo` takes it back until something is promoted.
    """
    from flows.promotion import projects as known

    store = open_store(config, overrides)
    if undo:
        console.print(f"taken back: {known.undo(store)} objects are where they were", highlight=False)
    elif migrate:
        moves = known.migration(store)
        for target, sources in moves.items() if not yes else ():
            console.print(f"{', '.join(sources)} → {target}", highlight=False, soft_wrap=True)
        if moves and yes:
            known.migrate(store)
        hint = "moved; `--undo` takes it back" if yes else "would be written; `--migrate --yes` does it"
        console.print(f"{len(moves)} objects {hint}" if moves else "nothing here is older than projects")
    elif json:
        write_json([each.model_dump() for each in known.projects(store)])
    else:
        display.projects(console, known.projects(store))


def gc(
    older_than: Annotated[float, typer.Option(help="Days; whatever is younger stays.", min=0)] = 1,
    keep_runs: Annotated[int, typer.Option(help="How many of the newest runs keep what they used.", min=0)] = 10,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it. Without this, only say what would go.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Free the space of what no alias, no adapter that may be served, no recent run and nothing young needs.

    Shows for each thing why it stays or goes. May run beside other commands.
    """
    from flows.promotion.upkeep import collect
    from tasks.engine.storage.gc import DAY

    store = open_store(config, overrides)
    found = collect(store, older_than=older_than * DAY, keep_runs=keep_runs, delete=delete)
    display.collected(console, found, deleted=delete)


def fsck(config: WhichStore = TINY, overrides: Overrides = None) -> None:
    """Read every byte of the store, report each problem, and mend what can be mended.

    Exits with 0 if everything is intact, with 1 if every problem was mended or taken out of use, else with 2.
    """
    from tqdm import tqdm

    from flows.promotion.upkeep import check
    from tasks.engine.storage.fsck import bytes_to_read

    store = open_store(config, overrides)
    size = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(desc="fsck", total=bytes_to_read(store), file=sys.stderr, disable=None, leave=False, **size) as bar:
        findings = list(check(store, bar.update))
    display.findings(console, findings)
    raise typer.Exit(0 if not findings else 1 if all(finding.mended for finding in findings) else 2)
