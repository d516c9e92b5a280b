"""`reground plan` on a copy of the code whose pipeline.py has a mistake."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("tuned_answers=tuned_answers,\n        base_scores", "tuned_answer=tuned_answers,\n        base_scores",
         ("report", "'tuned_answer'", "did you mean 'tuned_answers'?")),
        ('dataset["evaluation"]', 'dataset["evaluations"]',
         ("build", "'evaluations'", "did you mean 'evaluation'?")),
    ],
    ids=["input", "part"],
)  # fmt: skip
def test_a_mistake_in_the_wiring_fails_in_plan_and_names_step_input_and_nearest_name(tmp_path, old, new, names):
    for folder in ("flows", "tasks", "data"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "deployments/configs").mkdir(parents=True)
    shutil.copy(ROOT / "deployments/configs/tiny.yaml", tmp_path / "deployments/configs")
    wiring = tmp_path / "flows/pipeline.py"
    assert wiring.read_text().count(old) == 1
    wiring.write_text(wiring.read_text().replace(old, new))
    command = [sys.executable, "-m", "flows.cli", "plan"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    error = done.stderr.splitlines()[0]
    assert error.startswith("error:") and all(name in error for name in names)


def test_a_run_of_a_flow_with_such_a_mistake_starts_no_step(tmp_path, monkeypatch):
    from flows.config import load
    from flows.orchestration import run
    from tasks.engine.errors import WiringError

    def miswired(config):
        raise WiringError("report: there is no input 'tuned_answer'", "mend it")

    monkeypatch.setattr(run, "planned", miswired)
    with pytest.raises(WiringError):
        run.run(load(None, [f"store={tmp_path / 'store'}"]))
    assert not (tmp_path / "store").exists()


def test_branches_that_are_off_by_default_are_wired_as_well(tmp_path):
    from flows.config import load
    from flows.pipeline import planned

    planner, _ = planned(
        load(None, [f"store={tmp_path}", "judge.llm.model=any", "data.evaluation=null", "answer.shots=4"])
    )
    labels = [step.label for step in planner.steps]
    assert {"judge", "answer shipped", "shots", "answer base shots", "score base shots", "slices", "report"} <= {
        *labels
    } and "validate evaluation" not in labels
