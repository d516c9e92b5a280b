"""What the store holds: artifacts, their names, what may go and what is harmed."""

import sys
from typing import Annotated

import typer

from flows.cli import tables as display
from flows.cli.options import Overrides, WhichArtifact, WhichStore, console, open_store, write_json
from flows.config import TINY


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
    """Tell how an artifact came to be: what it was made from, why, when, by whom, at what cost."""
    found = open_store(config, overrides).match(artifact)
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

    What has a name is kept by `reground gc`, with all that it was made from. champion, previous and challenger are
    named by `reground promote` and `rollback` alone.
    """
    store = open_store(config, overrides)
    if name and artifact:
        found = store.match(artifact)
        store.point(name, found.step, found.key)
    console.print(display.aliases([each for known, each in sorted(store.aliases().items()) if name in (None, known)]))


def gc(
    older_than: Annotated[float, typer.Option(help="Days; whatever is younger stays.", min=0)] = 1,
    keep_runs: Annotated[int, typer.Option(help="How many of the newest runs keep what they used.", min=0)] = 10,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it. Without this, only say what would go.")] = False,
    config: WhichStore = TINY,
    overrides: Overrides = None,
) -> None:
    """Free the space of what no alias, no adapter that may be served, no recent run and nothing young needs.

    It says of each thing why it stays or goes, and may run while other commands do.
    """
    from tasks.engine.storage.gc import DAY, collect

    store = open_store(config, overrides)
    found = collect(store, older_than=older_than * DAY, keep_runs=keep_runs, delete=delete)
    display.collected(console, found, deleted=delete)


def fsck(config: WhichStore = TINY, overrides: Overrides = None) -> None:
    """Read every byte of the store, report each flaw, and mend what can be mended.

    Exits with 0 if all is whole, with 1 if all that was wrong is mended or taken out of use, else with 2.
    """
    from tqdm import tqdm

    from tasks.engine.storage.fsck import bytes_to_read, check

    store = open_store(config, overrides)
    size = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(desc="fsck", total=bytes_to_read(store), file=sys.stderr, disable=None, leave=False, **size) as bar:
        findings = list(check(store, bar.update))
    display.findings(console, findings)
    raise typer.Exit(0 if not findings else 1 if all(finding.mended for finding in findings) else 2)
