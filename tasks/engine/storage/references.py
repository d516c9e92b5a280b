"""What refers to artifacts: names that people gave them, and what each run used; of each project its own.

projects/tiny/aliases/serving.json                        which artifact the name means; replaced at once
projects/tiny/runs/20261019T203505123456Z-9f31c2ab.json   a run, updated as its steps finish

A store without a project, and one that is older than projects, has `aliases` and `runs` at its top. Every project reads
those as well, after its own.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact, folder_name
from tasks.engine.storage.objects import Objects
from tasks.engine.storage.process import Process

PROJECTS = "projects"
ALIASES = "aliases"
RUNS = "runs"
Status = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class Alias:
    """What a name means, since when (ISO 8601, UTC), and who said so."""

    name: str
    step: str
    key: str
    at: str
    by: str

    @property
    def about(self) -> str:
        return folder_name(self.step, self.key)


def home(project: str) -> str:
    """What the names of a project's own objects begin with."""
    return f"{PROJECTS}/{project}/" if project else ""


def read_projects(objects: Objects) -> list[str]:
    """The projects that have made a run, named an artifact or promoted one."""
    return sorted({name.split("/")[1] for name in objects.glob(f"{PROJECTS}/*/*/*.json")})


def _own_last(objects: Objects, project: str, folder: str) -> list[str]:
    return [name for start in dict.fromkeys(("", home(project))) for name in objects.glob(f"{start}{folder}/*.json")]


def read_aliases(objects: Objects, project: str = "") -> dict[str, Alias]:
    """UserError if one is damaged: what it protected from `gc` must not be guessed."""
    paths = _own_last(objects, project, ALIASES)
    found = {}
    for path, content in zip(paths, objects.read_all(paths), strict=True):
        name = path.rpartition("/")[2].removesuffix(".json")
        try:
            found[name] = Alias(**orjson.loads(content or b""))
        except (orjson.JSONDecodeError, TypeError):
            raise UserError(f"the alias {name!r} is damaged", "point it to an artifact again") from None
    return found


def write_alias(objects: Objects, name: str, step: str, key: str, project: str = "") -> Alias:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UserError(f"{name!r} is not a valid name", "use small letters, digits, `-`, `_` and `.`")
    alias = Alias(name, step, key, datetime.now(UTC).isoformat(timespec="seconds"), str(Process.this()))
    objects.write(f"{home(project)}{ALIASES}/{name}.json", orjson.dumps(alias, option=orjson.OPT_INDENT_2))
    return alias


@dataclass(frozen=True)
class Run:
    """A logged run: `steps` is {label: {"step": …, "key": …}} of the steps that finished."""

    name: str  # of the config
    by: dict[str, Any]
    started: str  # ISO 8601, UTC
    status: Status  # a run that was killed stays `running`
    steps: dict[str, dict[str, str]]
    id: str = ""  # its file's name; sorts by time


class RunLog:
    """What a run used so far, written as its steps finish; see `Store.log_run`."""

    def __init__(self, objects: Objects, name: str, project: str = "") -> None:
        self._objects = objects
        self._name = name
        self._started = datetime.now(UTC)
        self._at = f"{home(project)}{RUNS}/{self._started:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}.json"
        self._steps: dict[str, dict[str, str]] = {}
        self._written = False

    def step_done(self, label: str, artifact: Artifact, *, at_once: bool = True) -> None:
        """The run used this artifact, new or not. Fresh ones need not be written at once, but before a long step."""
        self._steps[label] = {"step": artifact.step, "key": artifact.key}
        if at_once:
            self.write("running")

    def write(self, status: Status) -> None:
        fields = {
            "name": self._name,
            "by": Process.this().plain(),
            "started": self._started.isoformat(timespec="milliseconds"),
            "status": status,
            "steps": self._steps,
        }
        # A run that is logged once, when all was fresh, need not wait for the disk.
        write = self._objects.write if self._written else self._objects.create
        write(self._at, orjson.dumps(fields, option=orjson.OPT_INDENT_2))
        self._written = True


def read_runs(objects: Objects, most: int | None = None, project: str = "") -> list[Run]:
    """Newest first."""
    found = []
    files = _own_last(objects, project, RUNS)
    names = sorted(files, key=lambda name: name.rpartition("/")[2], reverse=True)[:most]
    for name, content in zip(names, objects.read_all(names), strict=True):
        try:
            found.append(Run(**orjson.loads(content or b""), id=name.rpartition("/")[2]))
        except (orjson.JSONDecodeError, TypeError):  # a power cut can leave a log of no bytes
            continue
    return found
