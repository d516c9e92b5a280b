"""Reground as a service on this machine: start it, end it, announce new data."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import ConfigFile, Overrides, console, write_json
from flows.config import TINY, load
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    from flows.orchestration.service.state import Running

Configs = Annotated[
    list[Path] | None,
    typer.Argument(
        help="YAML files, see deployments/configs/: a project each. Without one: the tiny sample.", show_default=False
    ),
]
Notify = Annotated[
    str | None, typer.Option(envvar="REGROUND_NOTIFY", help="A webhook that gets failures, promotions and refusals.")
]


def up(
    configs: Configs = None,
    add: Annotated[bool, typer.Option("--add", help="Serve them beside the projects that are served.")] = False,
    port: Annotated[int, typer.Option(help="Of the Prefect server, on 127.0.0.1.", min=1, max=65535)] = 4200,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="REGROUND_DATABASE",
            help="postgresql+asyncpg://user:password@host/name; without it SQLite. PostgreSQL from 14 on with pg_trgm.",
        ),
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Ask for a password (PREFECT_SERVER_API_AUTH_STRING, else a new one).")
    ] = False,
    notify: Notify = None,
) -> None:
    """Start Reground as a service: a Prefect server with its pools, deployments and automations, and two workers.

    What runs already stays; what `deployments/` says is applied again. A config is what scheduled runs read and the run
    form begins with. Several projects share server, workers and the GPU's place; each has its own deployments,
    schedules and events. State is kept in .reground (or in REGROUND_STATE); `reground down` ends it all.
    """
    from flows.orchestration.service import state
    from flows.orchestration.service.up import up as start

    auth = _password(state.read()) if production else None
    asked = state.Asked(port=port, configs=_projects(configs or [TINY]), database=database, notify=notify, auth=auth)
    url = start(asked, _say, add=add).url
    console.print(f"\n[bold]{url}[/]  the UI; start a run by its form: Deployments → retrain → Run", highlight=False)
    console.print(f"export PREFECT_API_URL={url}/api  # for `prefect …`", style="dim", highlight=False)
    if auth:
        console.print(f"the password is in {state.path()}", style="dim", highlight=False)


def deploy(
    configs: Configs = None,
    server: Annotated[
        str | None,
        typer.Option(envvar="PREFECT_API_URL", help="The API's address, such as https://prefect.example.com/api."),
    ] = None,
    notify: Notify = None,
) -> None:
    """Put projects on a Prefect server, or a Cloud workspace, that is there: pools, deployments, automations, alerts.

    Starts nothing: start a worker where the runs are to be, with these files and the configs at the same paths:
    `prefect worker start --pool reground-gpu`, and one for reground-desk. May be repeated; what was changed on the
    server stays. Who may enter is as PREFECT_API_KEY or PREFECT_API_AUTH_STRING says.
    """
    if not server:
        raise UserError("no server is named", "give --server URL, or set PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = server
    import httpx

    from flows.orchestration.service import apply

    try:
        for line in apply.apply(_projects(configs or [TINY]), notify, alone=False):
            _say(line)
    except (httpx.HTTPError, OSError) as error:
        remedy = "check its address, which ends in /api, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
        raise UserError(f"{server}: {error or type(error).__name__}", remedy) from error


def down() -> None:
    """End the service: the workers with what they run, then the server. A training keeps its last checkpoint."""
    from flows.orchestration.service.up import down as end

    if not end(_say):
        _say("nothing runs here")


def refresh(
    config: ConfigFile = TINY,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Announce the data even if it is as it was.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The event's payload, or null, for machines.")] = False,
) -> None:
    """Announce data that changed: emit dataset.refreshed, on which the deployment retrain/retrain runs.

    Looks at the content of data.train and data.evaluation. What was announced last is remembered in the store, so that
    asking again does nothing. Speaks to the server of PREFECT_API_URL, or of `reground up`.
    """
    from flows.orchestration.service.state import use_running

    if not use_running():
        raise UserError(
            "no Prefect server is set, and none runs here", "start one: `reground up`, or set PREFECT_API_URL"
        )
    from flows.refresh import Refresh, announce

    announced = announce(Refresh.of(load(config, overrides or ()), force=force))
    if json:
        write_json(announced.payload)
    else:
        console.print(announced.text, highlight=False)


def _projects(configs: list[Path]) -> dict[str, Path]:
    """The configs by their projects. Their mistakes are reported now, and not by the first run."""
    found: dict[str, Path] = {}
    models: dict[str, Path] = {}
    for path in configs:
        config = load(path)
        if config.project in found:
            problem = f"{path} and {found[config.project]} are both of the project {config.project}"
            raise UserError(problem, "give one of them another `project`")
        model = config.promotion.mlflow
        if model and model in models:
            raise UserError(
                f"promotion.mlflow: {path} and {models[model]} both name {model}", "give each its own model"
            )
        found[config.project] = path.resolve()
        models |= {model: path} if model else {}
    return found


def _password(running: "Running | None") -> str:
    """user:password for the server: as the environment says, as the service has it, or a new one."""
    known = running.asked.auth if running else None
    return os.environ.get("PREFECT_SERVER_API_AUTH_STRING") or known or f"reground:{secrets.token_urlsafe(24)}"


def _say(line: str) -> None:
    console.print(f"[green]✓[/] {line}", highlight=False, soft_wrap=True)
