"""The command `reground`. Imports nothing heavy, so that `plan` answers in under a second."""

from collections.abc import Callable

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from flows.cli.answers import ask, evaluate, render, review, score, synthesize, validate
from flows.cli.doctor import doctor
from flows.cli.lineage import lineage, why
from flows.cli.options import ConfigFile, Overrides
from flows.cli.promotion import compare, pin, promote, rollback, versions
from flows.cli.retrain import adopt, plan, retrain
from flows.cli.service import deploy, down, refresh, up
from flows.cli.serving import merge, push, serve, served, sign, verify
from flows.cli.store import alias, artifacts, fsck, gc, projects, show
from flows.cli.sweep import sweep
from flows.config import TINY, load
from tasks.engine.errors import UserError, disk_explained

app = typer.Typer(
    help="Retraining for RAG answerers that reruns only what changed.\n\n"
    "Try `reground plan` to see what would run and why, `reground retrain` to run it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# Help lists them in this order.
COMMANDS: tuple[Callable[..., None], ...] = (
    *(retrain, plan, sweep, doctor, adopt, why, lineage, synthesize, review, validate, render, score, ask, evaluate),
    *(promote, rollback, versions, compare, pin, sign, verify, serve, served, merge, push),
    *(up, deploy, down, refresh, projects, artifacts, show, alias, gc, fsck),
)
for command in COMMANDS:
    app.command()(command)


@app.command("config")
def show_config(config: ConfigFile = TINY, overrides: Overrides = None) -> None:
    """Print every setting as it stands, as YAML."""
    tree = load(config, overrides or ()).model_dump(mode="json", by_alias=True)
    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


def main() -> None:
    """Run a command; an error that the user can mend is printed in two lines and exits with 2."""
    try:
        with disk_explained():
            app()
    except UserError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
