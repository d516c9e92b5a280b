"""Where an artifact comes from: why it was made, and from what."""

from typing import Annotated

import typer

from flows import wording
from flows.cli import tables as display
from flows.cli.options import Overrides, WhichArtifact, WhichStore, console, open_store, write_json
from flows.config import TINY
from flows.promotion.candidates import find


def why(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same for machines.")] = False,
) -> None:
    """Tell why an artifact was made: what had changed since the one before, and why that had, back to the source."""
    from tasks.engine.lineage import why as explain

    cause = explain(find(open_store(config, overrides), artifact))
    if json:
        write_json(cause)
    else:
        display.why(console, cause)


def lineage(
    artifact: WhichArtifact,
    config: WhichStore = TINY,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Nodes and edges, for machines.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A flow chart for Markdown.")] = False,
) -> None:
    """Show everything that an artifact was made from, up to the files and the base model."""
    from tasks.engine.lineage import lineage as trace

    found = trace(find(open_store(config, overrides), artifact))
    if json:
        write_json(found)
    elif mermaid:
        print(wording.mermaid(found))
    else:
        display.lineage(console, found)
