"""The whole product through its terminal, on a copy of the project that a test may edit.

What each kind of edit makes stale is in tests/flows/test_plan.py, without processes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.whole import untimed
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[1]
# Ten steps of training, six tokens of each answer: the flow is under test here, not what the model learns.
SHORT = (
    *("train.max_steps=10", "train.save_steps=4", "train.logging_steps=2", "train.eval_steps=4"),
    "answer.max_new_tokens=6",
    "parity.enabled=false",  # tests/test_gate.py has it
    "slices.enabled=false",
)
STEPS = 11


class Checkout:
    """A copy of flows/, tasks/ and data/, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__")
        for part in ("flows", "tasks", "data", "deployments"):
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        for name, rows in (("train", 240), ("evaluation", 40)):
            path = folder / f"data/plant/{name}.jsonl"
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))

    def start(self, command: str, *settings: str, flags=(), session=False, **more: str) -> "subprocess.Popen[str]":
        words = [word for setting in (*SHORT, *settings) for word in ("--set", setting)]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PREFECT_HOME": str(self.folder / ".prefect")}
        environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = str(int(PATIENCE))  # on a busy machine
        environment.update(more)
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", command, *words, *flags],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=session,
        )

    def run(self, command: str, *settings: str, **options) -> str:
        process = self.start(command, *settings, **options)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, f"{out}\n{err}"
        return out

    def stale(self, *settings: str) -> dict[str, list[str]]:
        """What a plan says would run, and what changed for it: label → "kind name" of each change."""
        steps = json.loads(self.run("plan", *settings, flags=["--json"]))
        assert sum("champion" not in step["label"] for step in steps) == STEPS
        stale = [step for step in steps if step["status"] != "fresh"]
        return {step["label"]: [f"{each['kind']} {each['name']}" for each in step["why"]["changes"]] for step in stale}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, 1))

    def digests(self) -> dict[str, str]:
        manifests = (self.folder / "artifacts").glob("[!.]*/*/manifest.json")
        return {
            f"{m.parent.parent.name}/{m.parent.name}/{name}": untimed(m.parent / name)
            if m.parent.parent.name == "report"
            else each["sha256"]
            for m in manifests
            for name, each in json.loads(m.read_text())["files"].items()
            if name != "record.json"
        }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project after one retraining run."""
    project = Checkout(tmp_path_factory.mktemp("trained"))
    project.told = project.run("retrain")
    return project


@pytest.fixture
def project(trained, tmp_path):
    """A copy of it to edit."""
    copy = Checkout(tmp_path / "project")
    shutil.copytree(trained.folder / "artifacts", copy.folder / "artifacts")
    return copy


@pytest.mark.slow
def test_it_prints_base_against_tuned_and_again_every_step_is_cached(trained, prefect_server):
    """First with a server of its own, then on one that runs already."""
    from prefect.settings import PREFECT_API_URL

    assert trained.told.count("Completed") == STEPS
    assert "base" in trained.told
    assert "tuned" in trained.told
    again = trained.run("retrain", PREFECT_API_URL=PREFECT_API_URL.value())
    assert again.count("Cached") == STEPS
    assert "Completed" not in again


@pytest.mark.slow
@pytest.mark.nightly
def test_an_edited_training_row_leaves_the_evaluation_alone(project):
    path = project.folder / "data/plant/train.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[7])
    row["query"] = row["query"].rstrip("?") + ", please?"
    lines[7] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    project.run("retrain")
    ran = {a.parent.parent.name for a in (project.folder / "artifacts").glob("[!.]*/*/manifest.json")}
    assert ran  # the store is where it is expected
    counts = {
        s: len(list((project.folder / f"artifacts/{s}").iterdir())) for s in ("validate", "build", "train", "answer")
    }
    # validate: two sources and the edited one; answer: the base's, and the tuned model's before and after.
    assert counts == {"validate": 3, "build": 2, "train": 2, "answer": 3}


@pytest.mark.slow
@pytest.mark.nightly
def test_an_edited_line_of_score_reruns_score_and_report_only(project):
    source = (project.folder / "tasks/score.py").read_text()
    at = source.index("\ndef score(")
    end = source.index('"""\n', source.index('"""', at) + 3) + 4
    (project.folder / "tasks/score.py").write_text(source[:end] + "    _unused = 1\n" + source[end:])
    stale = project.stale()
    assert set(stale) == {"score base", "score tuned", "gate", "report"}
    assert stale["score base"] == ["code tasks/score.py"]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(trained, tmp_path):
    project = Checkout(tmp_path / "killed")
    process = project.start("retrain", session=True)
    wait_until(lambda: [*(project.folder / "artifacts").glob(".work/train/*/checkpoints/*/seal.json")], process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((project.folder / "artifacts").glob("train/*"))
    (work,) = (project.folder / "artifacts/.work/train").iterdir()
    again = project.run("retrain")
    assert again.count("Cached") == 3  # validate twice, build
    assert project.digests() == trained.digests()
    assert not work.exists()


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("code", "name", "refusal"),
    [("de", "German", "Im Datenblatt nicht angegeben."), ("zh", "Chinese", "数据表中未说明。")],
)
def test_a_retraining_in_another_language_runs_to_a_report_of_the_same_facts(tmp_path, code, name, refusal):
    project = Checkout(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "data/plant/evaluation.jsonl").open()]
    translate = [sys.executable, "data/plant/translate.py", code, "--out", "data/plant"]
    subprocess.run(translate, cwd=tmp_path, check=True)
    project.run("retrain", f"validate.refusal={refusal}", "build.max_tokens=640")
    (report,) = [json.loads(path.read_text()) for path in tmp_path.glob("artifacts/report/*/report.json")]
    assert (report["rows"], report["unanswerable"]) == (len(rows), sum(not row["gold"] for row in rows))
    assert report["refusal"] == refusal
    assert {each["language"] for each in report["answers"]} == {code}
    for each in report["outcomes"]:
        assert sum(each[kind] for kind in ("right", "wrong", "refused_rightly", "refused_wrongly")) == len(rows)
    for path in tmp_path.glob("artifacts/validate/*/report.json"):
        read = json.loads(path.read_text())
        assert read["languages"] == {code: {"name": name, "rows": read["rows"]["read"], "validated": True}}
        assert read["rows"]["rejected"] == read["rows"]["warned"] == 0


@pytest.mark.slow
def test_a_plan_is_quick_and_imports_nothing_heavy(trained):
    words = [sys.executable, "-X", "importtime", "-m", "flows.cli", "plan"]
    environment = {**os.environ, "PYTHONPATH": str(trained.folder)}
    done = subprocess.run(words, cwd=trained.folder, env=environment, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time" in line}
    assert "flows.pipeline" in imported
    assert not imported & {"torch", "transformers", "prefect", "datasets", "pyarrow", "numpy"}
