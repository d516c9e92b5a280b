"""A real run of the whole pipeline on the tiny base, once, and copies of it to edit and to harm."""

import filecmp
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.config import load
from flows.pipeline import pipeline
from tasks.engine import key
from tasks.engine.code import reach as code
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.plan import Planner
from tasks.engine.storage.store import Artifact, Store
from tests.loaded import loaded
from tests.shared import once

ROOT = Path(__file__).resolve().parents[2]
OWN_STORE = shutil.ignore_patterns("store")
TINY = (
    "train.max_steps=2",
    "train.learning_rate=0.02",  # so that two steps change answers
    "train.eval_steps=2",
    "train.logging_steps=1",
    "answer.max_new_tokens=8",
    "parity.enabled=false",
    "slices.enabled=false",
)


class Project:
    """A copy of the code, data, base model and template that a test may edit, and a store with one run's artifacts."""

    def __init__(self, folder: Path, store: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self.store = store
        self.settings: list[str] = []

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def set(self, *settings: str) -> None:
        self.settings += settings

    @property
    def words(self) -> list[str]:
        given = {
            "store": self.store,
            "data.train": self / "train.jsonl",
            "data.evaluation": self / "evaluation.jsonl",
            "base.model": self / "base",
            "prompt.template": self / "prompt.jinja",
            "prompt.system": '""',
            "prompt.user": "\"Context: {{ passages | join(' ') }}\\nQuestion: {{ query }}\"",
        }
        return [*(f"{name}={value}" for name, value in given.items()), *TINY, *self.settings]

    @property
    def config(self):
        return load(None, self.words)

    def plan(self) -> Planner:
        planner = Planner(self.config.open_store(), self.config.name)
        pipeline(self.config, planner)
        return planner

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self / name).read_text()
        assert old in text, f"{name} has no {old!r} to edit"
        (self / name).write_text(text.replace(old, new, 1))

    def lines(self, name: str, change: Callable[[list[str]], list[str]]) -> None:
        path = self / name
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    def own_store(self) -> Path:
        """A store that this test may harm."""
        self.store = shutil.copytree(self.store, self.scratch / "store")
        return self.store

    def artifact(self, step: str) -> Path:
        """The one artifact of a step, in a store of the test's own."""
        (found,) = self.own_store().glob(f"{step}/*")
        return found


def lay(folder: Path) -> None:
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data/tiny-base", folder / "base")
    shutil.copyfile(ROOT / "tests/tasks/course.jinja", folder / "prompt.jinja")
    for name, rows in (("train", 80), ("evaluation", 24)):
        lines = (ROOT / f"data/plant/{name}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:rows]))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The store after one run, step by step: about half a minute, once for all workers of a test run."""

    def run(folder: Path) -> dict[str, tuple[str, str]]:
        lay(folder)
        with pytest.MonkeyPatch.context() as patch:
            read_code_in(folder, patch)
            with loaded():
                return {label: (each.step, each.key) for label, each in run_once(folder).items()}

    folder, used = once(tmp_path_factory, "made", run)
    store = Store(folder / "store")
    return SimpleNamespace(folder=folder, used={label: store.find(*of) for label, of in used.items()})


def read_code_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(key, "ROOT", folder)
    patch.setattr(key, "code_of", partial(code.code_of, root=folder))


def run_once(folder: Path) -> dict[str, Artifact]:
    project = Project(folder, folder / "store", folder)
    # The base goes by its path in the exported adapter, and every test has a copy of its own.
    project.set("base.model=" + str(folder / "base"))
    store, used = project.config.open_store(), {}

    def run(step, config, *, label="", **inputs):
        request = Request(step, config, inputs, label or step.name)
        used[request.label] = make(request, store)[0]
        return used[request.label]

    run.store = store
    pipeline(project.config, run)
    store.log_fresh_run("tiny", used)
    return used


@pytest.fixture(scope="session")
def workplace(made, tmp_path_factory) -> Path:
    return shutil.copytree(made.folder, tmp_path_factory.mktemp("work") / "project", ignore=OWN_STORE)


@pytest.fixture
def project(made, workplace, tmp_path, monkeypatch):
    """A copy to edit. All tests have the same one, put back in between, so that code is parsed once."""
    folder = workplace
    restore(made.folder, folder)
    read_code_in(folder, monkeypatch)
    return Project(folder, made.folder / "store", tmp_path)


def restore(original: Path, copy: Path) -> None:
    """Put back what a test has changed; times as well, by which the code's cache goes."""
    for path in [*copy.rglob("*")]:
        if path.is_file() and not (original / path.relative_to(copy)).is_file():
            path.unlink()
    for path in original.rglob("*"):
        name = path.relative_to(original)
        wanted = path.is_file() and name.parts[0] != "store"
        if wanted and not ((copy / name).is_file() and filecmp.cmp(path, copy / name)):
            shutil.copy2(path, copy / name)


@pytest.fixture
def install(monkeypatch):
    """Have another version of a library installed, as far as keys can see."""
    real = key.version

    def install(name: str, version: str) -> None:
        key._version.cache_clear()
        monkeypatch.setattr(key, "version", lambda each: version if each == name else real(each))

    yield install
    key._version.cache_clear()
