"""Where the service of this machine keeps its state, and which settings its processes are started with.

.reground/
  service.json    what was asked of `reground up`, and which processes run (only its owner may read it)
  prefect/        Prefect's home: the database (unless it is PostgreSQL), results, leases
  *.log           the output of the server and of the workers
"""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from flows import settings
from flows.config import load
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.storage.process import Process
from tasks.training.launch import SHORT_SPIN


class Asked(BaseModel, frozen=True):
    """What `reground up` was asked for; a second `up` that asks for something else is refused while it runs."""

    port: int = 4200
    configs: dict[str, Path]  # by project, in the order in which they were given
    database: str | None = None
    auth: str | None = None  # user:password; with it the server also wants CSRF tokens
    notify: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_one_config(cls, given: Any) -> Any:
        """As `up` wrote it before there were projects."""
        if isinstance(given, dict) and (path := given.get("config")):
            return given | {"configs": {load(Path(path)).project: path}}
        return given


class Running(BaseModel, frozen=True):
    """What was started: processes by name, each as a tag by which it is known again (see `Process`)."""

    asked: Asked
    processes: dict[str, str] = Field(default_factory=dict)

    def is_alive(self, name: str) -> bool:
        return name in self.processes and Process.from_tag(self.processes[name]).is_alive

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.asked.port}"


def home() -> Path:
    """Where the relative paths of a service begin: the checkout, or where one works with an installed Reground."""
    return ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()


def folder() -> Path:
    """`.reground` in there, or the folder that REGROUND_STATE names."""
    return (settings.state_folder() or home() / ".reground").resolve()


def path() -> Path:
    return folder() / "service.json"


def read() -> Running | None:
    """What the last `up` wrote; None if nothing was started, or all of it was ended by `down`."""
    try:
        return Running.model_validate_json(path().read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = f"{path()} cannot be read: {error.errors()[0]['msg']}"
        raise UserError(problem, "remove it, and end by hand what still runs") from None


def write(running: Running) -> None:
    """In one rename, and readable by its owner alone: it may hold the passwords of the server and the database."""
    new = path().with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(running.model_dump_json(indent=2))
    new.replace(path())


@cache
def stated() -> dict[str, dict[str, Any]]:
    """What deployments/service.yaml states: `pools`, and the settings of `client`, `worker` and `server`."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deployments/service.yaml").read_text(encoding="utf-8"))
    return found


def client_settings(running: Running) -> dict[str, str]:
    """The environment of everything that speaks to the server: workers, deployments, `reground refresh`."""
    auth = running.asked.auth
    return {
        **stated()["client"],
        "PREFECT_API_URL": f"{running.url}/api",
        "PREFECT_HOME": str(folder() / "prefect"),
        **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
    }


def worker_settings(running: Running) -> dict[str, str]:
    """The environment of the workers, and so of every run. How threads wait is as the caller has set it, if it has.

    The config of a run is its deployment's; the first project's is for runs that have none.
    """
    return {
        **client_settings(running),
        **stated()["worker"],
        **{name: os.environ.get(name, value) for name, value in SHORT_SPIN.items()},
        settings.CONFIG: str(next(iter(running.asked.configs.values()))),
    }


def server_settings(running: Running) -> dict[str, str]:
    """The environment of the server; where it listens and what its UI calls are as the caller has set it, if it has."""
    asked = running.asked
    own = {**stated()["server"], "PREFECT_UI_API_URL": "/api"}  # behind whatever host or proxy its page came from
    found = {
        **client_settings(running),
        **{name: os.environ.get(name, value) for name, value in own.items()},
        "PREFECT_SERVER_API_PORT": str(asked.port),
    }
    if asked.database:
        found["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = asked.database
    if asked.auth:
        found["PREFECT_SERVER_API_AUTH_STRING"] = asked.auth
        found["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] = "true"
    return found


def use_running() -> bool:
    """Have this process speak to the service of this machine, if one runs and no other server is set.

    Call it before Prefect is imported. Returns whether a server is set now.
    """
    if os.environ.get("PREFECT_API_URL"):
        return True
    assert "prefect" not in sys.modules, "Prefect reads its settings when it is imported"
    running = read()
    if not running or not running.is_alive("server"):
        return False
    os.environ.update(client_settings(running))
    return True
