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


def reground(clone: Project, *words: str) -> str:
    run = [sys.executable, "-m", "flows.cli", *words]
    done = subprocess.run(run, cwd=clone.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def not_fresh(clone: Project, *settings: str) -> set[str]:
    words = [word for setting in settings for word in ("--set", setting)]
    plan = json.loads(reground(clone, "plan", "config.yaml", "--json", *words))
    return {step["label"] for step in plan if step["status"] != "fresh"}


def artifacts(clone: Project, *steps: str) -> set[Path]:
    return {path for step in steps for path in Path(clone.store).glob(f"{step}/*")}


def test_a_metric_costs_scoring_alone_and_a_step_makes_nothing_else_run(clone: Project) -> None:
    assert not_fresh(clone) == set()
    kept = artifacts(clone, "validate", "build", "train", "export", "answer")
    scored = artifacts(clone, "score")
    follow(clone, "A metric")
    stale = not_fresh(clone)
    assert {"score base", "score tuned"} <= stale
    assert not any(label.startswith(("validate", "build", "train", "export", "answer")) for label in stale)
    follow(clone, "A step")
    assert not_fresh(clone) == stale | {"lengths"}

    reground(clone, "retrain", "config.yaml")
    assert not_fresh(clone) == set()
    assert not_fresh(clone, "lengths.unit=characters") == {"lengths"}
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


def test_a_rule_judges_rows_and_says_the_remedy(clone: Project) -> None:
    follow(clone, "A validation rule")
    row = {"query": "Tell me the limit", "context": ["The limit is 16 bar."], "answer": "The limit is 16 bar."}
    (clone / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (line,) = reground(clone, "validate", "rows.jsonl", "--json").splitlines()
    findings = json.loads(line)["findings"]
    assert {"rule": "question_mark", "remedy": "end the query with a question mark"}.items() <= findings[0].items()
    assert {"validate", "validate evaluation"} <= not_fresh(clone)


def test_a_template_of_another_family_is_a_file(clone: Project) -> None:
    follow(clone, "A model family")
    stale = not_fresh(clone, "prompt.template=mine.jinja")
    assert "build" in stale
    assert not stale & {"validate", "validate evaluation"}
