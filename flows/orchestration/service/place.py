"""Where the service of this machine keeps its state, and which settings its processes are started with.

.reground/
  service.json    what was asked of `reground up`, and which processes run (only its owner may read it)
  prefect/        Prefect's home: the database (unless it is PostgreSQL), results, leases
  *.log           what the server and the workers say
"""

import os
import secrets
import sys
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from flows import settings
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.storage.process import Process
from tasks.training.launch import SHORT_SPIN

FOLDER = ROOT / ".reground"
USER = "reground"  # of the production variant's basic authentication


class Asked(BaseModel, frozen=True):
    """What a service was asked to be; a second `up` that asks for something else is refused while it runs."""

    port: int = 4200
    config: Path
    database: str | None = None
    auth: str | None = None  # user:password; with it the server also wants CSRF tokens
    notify: str | None = None


class Running(BaseModel, frozen=True):
    """What runs: processes by their tag (place, number and start, see `Process`)."""

    asked: Asked
    processes: dict[str, str] = Field(default_factory=dict)

    def is_alive(self, name: str) -> bool:
        return name in self.processes and Process.from_tag(self.processes[name]).is_alive

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.asked.port}"


def folder() -> Path:
    """`.reground` in the project, or the folder that REGROUND_STATE names."""
    return (settings.state_folder() or FOLDER).resolve()


def running() -> Running | None:
    """What the last `up` left; None if nothing was ever started here, or was taken down."""
    try:
        return Running.model_validate_json((folder() / "service.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(
            f"{folder() / 'service.json'} cannot be read: {error.errors()[0]['msg']}",
            "remove it, and end by hand what still runs",
        ) from None


def remember(told: Running) -> None:
    """In one rename, and readable by its owner alone: it may hold the passwords of the server and the database."""
    path = folder() / "service.json"
    new = path.with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(told.model_dump_json(indent=2))
    new.replace(path)


def forget() -> None:
    (folder() / "service.json").unlink(missing_ok=True)


def password() -> str:
    """A new basic-authentication string for the production variant."""
    return f"{USER}:{secrets.token_urlsafe(24)}"


def client_settings(told: Running) -> dict[str, str]:
    """The environment of whoever speaks to the server: workers, deployments, `reground refresh`."""
    return {
        "PREFECT_API_URL": f"{told.url}/api",
        "PREFECT_HOME": str(folder() / "prefect"),
        **({"PREFECT_API_AUTH_STRING": told.asked.auth} if told.asked.auth else {}),
        # A server that restarts is away for 5 to 10 s. Waits double from 2 s: these cover four minutes.
        "PREFECT_CLIENT_MAX_RETRIES": "7",
    }


def worker_settings(told: Running) -> dict[str, str]:
    """The environment of the workers, and so of every run. What the caller has set wins."""
    return {
        **client_settings(told),
        **{name: os.environ.get(name, value) for name, value in SHORT_SPIN.items()},
        settings.CONFIG: str(told.asked.config),
        # A run that gives no sign of life for `within` of deployments/automations.yaml is taken for dead.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "5",  # how soon a run starts; the default is 10
    }


def server_settings(told: Running) -> dict[str, str]:
    """The environment of the server."""
    database, auth = told.asked.database, told.asked.auth
    guarded = (
        {"PREFECT_SERVER_API_AUTH_STRING": auth, "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true"} if auth else {}
    )
    return {
        **client_settings(told),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        # Both, or the UI calls port 4200.
        "PREFECT_SERVER_API_PORT": str(told.asked.port),
        "PREFECT_UI_API_URL": f"{told.url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Leases of concurrency limits outlive a restart; in memory they do not, and end the run that holds one.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Old runs are deleted with their logs; by default only events are.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}),
        **(guarded if auth else {}),
    }


def use_running() -> bool:
    """Have this process speak to the service of this machine, if one runs and no other server is set.

    Call it before Prefect is imported. Returns whether a server is set now.
    """
    if os.environ.get("PREFECT_API_URL"):
        return True
    assert "prefect" not in sys.modules, "Prefect reads its settings when it is imported"
    told = running()
    if not told or not told.is_alive("server"):
        return False
    os.environ.update(client_settings(told))
    return True
