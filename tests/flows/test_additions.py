"""What tasks/README.md adds to the project, step by step, works as it is written there, and costs what it says."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.flows.conftest import ROOT, Project

BLOCK = re.compile(
    r"```(?:python|jinja)\n# (\S+): (a new file|at the end|(?:before|after) \"([^\n]+)\")\n(.*?)```", re.DOTALL
)
SECTION = re.compile(r"^### (.+)$", re.MULTILINE)


def examples() -> dict[str, list[tuple[str, str, str, str]]]:
    """Section of the README → (file, where, anchor, code) of each of its blocks."""
    _, _, text = (ROOT / "tasks/README.md").read_text(encoding="utf-8").partition("## How to add something")
    text, _, _ = text.partition("\n## ")
    _, *parts = SECTION.split(text)
    return {name: BLOCK.findall(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def follow(project: Project, section: str) -> None:
    """Do what the README says."""
    for name, where, anchor, code in examples()[section]:
        path = project / name
        if where == "a new file":
            path.write_text(code)
            continue
        text = path.read_text()
        if where == "at the end":
            path.write_text(f"{text}\n\n{code}")
            continue
        assert text.count(anchor + "\n") >= 1 or text.count(anchor) == 1, f"{name} has no {anchor!r}"
        before, found, after = text.partition(anchor)
        line_end = after.index("\n") + 1 if where.startswith("after") else 0
        path.write_text(
            before + found + after[:line_end] + code + after[line_end:] if line_end else before + code + found + after
        )


@pytest.fixture
def clone(made, tmp_path) -> Project:
    """The code as a user has it, to edit and to run, and a store that holds a whole run of it."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=ignore)
    for name in ("train.jsonl", "evaluation.jsonl", "prompt.jinja"):
        shutil.copy(made.folder / name, tmp_path / "clone")
    (tmp_path / "clone/deployments").symlink_to(ROOT / "deployments")
    project = Project(tmp_path / "clone", made.folder / "store", tmp_path)
    project.set(f"base.model={made.folder / 'base'}")
    project.own_store()
    config = yaml.safe_dump(project.config.model_dump(mode="json", by_alias=True))
    (project / "config.yaml").write_text(config)
    return project


STEPS = """
import json, sys
from pathlib import Path
from flows.config import load
from flows.pipeline import pipeline
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.plan import Planner

def stale(*settings):
    config = load(Path("config.yaml"), settings)
    planner = Planner(config.open_store(), config.name)
    pipeline(config, planner)
    return [step.label for step in planner.steps if step.status != "fresh"]

def run(*settings):
    config = load(Path("config.yaml"), settings)
    store = config.open_store()
    def each(step, config, *, label="", **inputs):
        return make(Request(step, config, inputs, label or step.name), store)[0]
    each.store = store
    pipeline(config, each)

print(json.dumps([{"plan": stale, "run": run}[word](*settings) for word, *settings in json.loads(sys.argv[1])]))
"""


def done(clone: Project, *asked: tuple[str, ...]) -> list[set[str]]:
    """In one process of the clone: the labels of the steps that are not fresh for each `plan`, nothing for a `run`."""
    run = [sys.executable, "-c", STEPS, json.dumps(asked)]
    ended = subprocess.run(run, cwd=clone.folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [set(labels or ()) for labels in json.loads(ended.stdout.splitlines()[-1])]


def artifacts(clone: Project, *steps: str) -> set[Path]:
    return {path for step in steps for path in Path(clone.store).glob(f"{step}/*")}


def test_what_is_added_works_and_costs_what_it_says(clone: Project) -> None:
    kept = artifacts(clone, "validate", "build", "train", "export", "answer")
    scored = artifacts(clone, "score")
    follow(clone, "A metric")
    (stale,) = done(clone, ("plan",))
    assert {"score base", "score tuned"} <= stale
    assert not any(label.startswith(("validate", "build", "train", "export", "answer")) for label in stale)
    follow(clone, "A step")
    follow(clone, "A model family")
    others = ("plan", "lengths.unit=characters"), ("plan", "prompt.template=mine.jinja")
    before, _, after, measured, prompted = done(clone, ("plan",), ("run",), ("plan",), *others)
    assert (before, after, measured) == (stale | {"lengths"}, set(), {"lengths"})
    assert "build" in prompted and not prompted & {"validate", "validate evaluation"}
    assert artifacts(clone, "validate", "build", "train", "export", "answer") == kept
    new = artifacts(clone, "score") - scored
    assert len(new) == 2
    for folder in new:
        figure = json.loads((folder / "summary.json").read_text())["metrics"]["shouting"]
        assert figure["value"] is not None
        assert figure["rows"] > 0
    (folder,) = artifacts(clone, "lengths")
    summary = json.loads((folder / "lengths.json").read_text())
    assert 0 < summary["mean"] <= summary["longest"]

    follow(clone, "A validation rule")
    row = {"query": "Tell me the limit", "context": ["The limit is 16 bar."], "answer": "The limit is 16 bar."}
    (clone / "rows.jsonl").write_text(json.dumps(row) + "\n")
    words = [sys.executable, "-m", "flows.cli", "validate", "rows.jsonl", "--json"]
    said = subprocess.run(words, cwd=clone.folder, capture_output=True, text=True).stdout
    (finding, *_) = json.loads(said)["findings"]
    assert {"rule": "question_mark", "remedy": "end the query with a question mark"}.items() <= finding.items()
    (stale,) = done(clone, ("plan",))
    assert {"validate", "validate evaluation"} <= stale
