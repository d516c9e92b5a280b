"""A new metric is one file and one line of the table; answers that are there are rescored, nothing is generated."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.flows.conftest import ROOT, Project

METRIC = '''"""Answers that shout."""

from tasks.evaluation.metrics.row import Row


def shouting(row: Row) -> float:
    """1 if the answer is in capitals throughout, else 0; down."""
    return float(row.answer.isupper())
'''
LINE = '    "shouting": Metric(shouting, "In capitals", "Style / domain", "lower", "rate"),\n'


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
    return project


def reground(clone: Project, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    config = clone / "config.yaml"
    config.write_text(yaml.safe_dump(clone.config.model_dump(mode="json", by_alias=True)))
    run = [sys.executable, "-m", "flows.cli", command, str(config), *options]
    done = subprocess.run(run, cwd=clone.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def statuses(clone: Project) -> dict[str, str]:
    return {step["label"]: step["status"] for step in json.loads(reground(clone, "plan", "--json").stdout)}


def artifacts(clone: Project, *steps: str) -> set[Path]:
    return {path for step in steps for path in Path(clone.store).glob(f"{step}/*")}


def test_a_metric_is_one_file_and_one_line_and_costs_scoring_alone(clone: Project) -> None:
    before = statuses(clone)
    assert set(before.values()) == {"fresh"}
    kept = artifacts(clone, "validate", "build", "train", "export", "answer")
    scored = artifacts(clone, "score")

    (clone / "tasks/evaluation/metrics/shouting.py").write_text(METRIC)
    clone.edit("tasks/evaluation/metrics/__init__.py", "METRICS = {\n", "METRICS = {\n" + LINE)
    clone.edit(
        "tasks/evaluation/metrics/__init__.py",
        "from tasks",
        "from tasks.evaluation.metrics.shouting import shouting\nfrom tasks",
    )

    rerun = {label for label, status in statuses(clone).items() if status != "fresh"}
    assert {"score base", "score tuned"} <= rerun
    assert not any(label.startswith(("validate", "build", "train", "export", "answer")) for label in rerun)
    reground(clone, "retrain")
    assert set(statuses(clone).values()) == {"fresh"}
    assert artifacts(clone, "validate", "build", "train", "export", "answer") == kept
    new = artifacts(clone, "score") - scored
    assert len(new) == 2
    for folder in new:
        figure = json.loads((folder / "summary.json").read_text())["metrics"]["shouting"]
        assert figure["value"] is not None
        assert figure["rows"] > 0
