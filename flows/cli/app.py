"""`reground …`: the terminal's door. Imports nothing heavy, so that `plan` answers in under a second."""

from collections.abc import Callable

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from flows.cli.answers import ask, score_answers, validate
from flows.cli.doctor import doctor
from flows.cli.lineage import lineage, why
from flows.cli.options import ConfigFile, Overrides
from flows.cli.promotion import compare, promote, rollback, versions
from flows.cli.retrain import adopt, plan, retrain
from flows.cli.service import down, refresh, up
from flows.cli.store import alias, artifacts, fsck, gc, show
from flows.cli.sweep import sweep
from flows.config import TINY, load
from tasks.engine.errors import UserError

app = typer.Typer(
    help="Retraining for RAG answerers that reruns only what changed.\n\n"
    "Try `reground plan` to see what would run and why, `reground retrain` to run it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# Help lists them in this order.
COMMANDS: dict[str, Callable[..., None]] = {
    "retrain": retrain,
    "plan": plan,
    "sweep": sweep,
    "doctor": doctor,
    "adopt": adopt,
    "why": why,
    "lineage": lineage,
    "validate": validate,
    "score": score_answers,
    "ask": ask,
    "promote": promote,
    "rollback": rollback,
    "versions": versions,
    "compare": compare,
    "up": up,
    "down": down,
    "refresh": refresh,
    "artifacts": artifacts,
    "show": show,
    "alias": alias,
    "gc": gc,
    "fsck": fsck,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.command("config")
def show_config(config: ConfigFile = TINY, overrides: Overrides = None) -> None:
    """Print every setting as it stands, as YAML."""
    tree = load(config, overrides or ()).model_dump(mode="json", by_alias=True)
    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


def main() -> None:
    """Run a command; what the user can mend is told in two lines and exits with 2."""
    try:
        app()
    except UserError as error:
        told = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
