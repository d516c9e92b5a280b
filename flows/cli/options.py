"""What the commands share: the words that they take, the store that they open, and where they write."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from pydantic_core import to_jsonable_python
from rich.console import Console

from flows.config import load

if TYPE_CHECKING:
    from tasks.engine.storage.store import Store

console = Console(width=None if sys.stdout.isatty() else 100)

ConfigFile = Annotated[
    Path,
    typer.Argument(help="A YAML file, see deployments/configs/. Without one: the tiny sample.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override one setting, e.g. `-s train.lora.r=8`. May be repeated."),
]
WhichArtifact = Annotated[str, typer.Argument(help="A key or its first digits, or a step: its newest artifact.")]
WhichStore = Annotated[Path, typer.Option("--config", help="The config whose store to look in.")]


def open_store(config: Path, overrides: Sequence[str] | None) -> "Store":
    return load(config, overrides or ()).open_store()


def write_json(value: Any) -> None:
    """Plain data, or the engine's models, as JSON."""
    plain = to_jsonable_python(value)
    sys.stdout.buffer.write(orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
