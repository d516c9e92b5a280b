"""A rerun that finds nothing changed: `reground retrain` against `dvc repro`, and its flow against an empty one.

20,000 rows go once through the eleven steps of the pipeline, with one step of training. DVC is given the same DAG over
the same files: eleven stages, each with its data, source file and section of the parameters as dependencies, and
the artifact's own files as output. Then both are asked to do it again, in turn.

Beside it, both on one running Prefect server, each a process of its own as a worker starts it: the retraining flow with
every step cached, and a flow of eleven cached tasks that do nothing.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from flows.config import Retrain, load
from flows.pipeline import pipeline
from tasks.engine.code.source import ROOT
from tasks.engine.plan import Planner
from tests.bench.harness import Measured, alternate, measure, peer, seconds, table, verdict
from tests.bench.rows import write

ROWS = 20_000
ROUNDS = 10
TARGET = 1.0  # × `dvc repro`
FLOW_TARGET = 1.2  # × the empty flow
DVC = "dvc==3.67.1"
BIN = Path(sys.executable).parent

# stage: (its data, the section of the parameters that it reads)
DAG = {
    "validate": (["train.jsonl"], "validate"),
    "validate-evaluation": (["evaluation.jsonl"], "validate"),
    "build": (["validate", "validate-evaluation", "base"], "build"),
    "train": (["build/train", "build/heldout", "base"], "train"),
    "export": (["train", "base"], "base"),
    "answer-base": (["build/evaluation", "base"], "answer"),
    "answer-tuned": (["build/evaluation", "base", "template.jinja", "train/adapter"], "answer"),
    "score-base": (["build/evaluation", "answer-base"], "score"),
    "score-tuned": (["build/evaluation", "answer-tuned"], "score"),
    "gate": (["score-base", "score-tuned"], "gate"),
    "report": (
        ["build/evaluation", "answer-base", "answer-tuned", "score-base", "score-tuned", "gate", "train", "export"],
        "report",
    ),
}

FLOW = """
import sys
from pathlib import Path
from flows.config import load
from flows.retrain import retrain

retrain(load(Path(sys.argv[1])))
"""

EMPTY = """
from prefect import flow, task
from prefect.cache_policies import INPUTS

@task(cache_policy=INPUTS, persist_result=True)
def nothing(number):
    return number

@flow
def empty():
    for number in range(11):
        nothing(number)

empty()
"""


def main() -> None:
    dvc = peer(DVC) / "dvc"
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = configured(folder)
        print(f"{ROWS:,} rows through the pipeline once …", flush=True)
        retrain = [BIN / "reground", "retrain", config]
        measure(retrain, folder=ROOT, env={"PREFECT_HOME": str(folder / "prefect")})
        project = dvc_project(folder, load(config), dvc)
        terminal = alternate(
            {
                "reground retrain": partial(cached, retrain, folder=ROOT),
                "dvc repro": partial(unchanged, [dvc, "repro"], folder=project),
            },
            rounds=ROUNDS,
        )
        with server(folder / "server") as env:
            flows = alternate(
                {
                    "retrain, eleven steps cached": partial(
                        measure, [BIN / "python", "-c", FLOW, config], folder=ROOT, env=env
                    ),
                    "empty flow of eleven cached tasks": partial(
                        measure, [BIN / "python", "-c", EMPTY], folder=folder, env=env
                    ),
                },
                rounds=ROUNDS,
            )
    table(f"{ROWS:,} rows, eleven steps, nothing changed", terminal)
    table("the same as Prefect runs it, on a running server", flows)
    ratio = seconds(terminal, "reground retrain") / seconds(terminal, "dvc repro")
    flow_ratio = seconds(flows, "retrain, eleven steps cached") / seconds(flows, "empty flow of eleven cached tasks")
    verdict(
        "noop",
        ratio=ratio,
        target=TARGET,
        holds=ratio <= TARGET and flow_ratio <= FLOW_TARGET,
        flow_ratio=round(flow_ratio, 4),
        flow_target=FLOW_TARGET,
        rows=ROWS,
        seconds={name: round(seconds(samples, name), 4) for samples in (terminal, flows) for name in samples},
    )


def configured(folder: Path) -> Path:
    """The sample's config on rows and a store of the bench's own; training is one step, it is not under test."""
    evaluation = folder / "evaluation.jsonl"
    with (ROOT / "data/plant/evaluation.jsonl").open() as file:
        evaluation.write_text("".join(islice(file, 16)))
    sections = {
        "name": "noop",
        "store": str(folder / "store"),
        "data": {"train": str(write(folder / "train.jsonl", ROWS)), "evaluation": str(evaluation)},
        "base": {"model": str(ROOT / "data/tiny-base")},
        "build": {"heldout_share": 0.001},
        "train": {"max_steps": 1, "batch_size": 1, "accumulation": 1, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}},
        "answer": {"max_new_tokens": 4},
        "gate": {"resamples": 200},
        "parity": {"enabled": False},
        "slices": {"enabled": False},
    }
    path = folder / "noop.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def dvc_project(folder: Path, config: Retrain, dvc: Path) -> Path:
    """A DVC project after a whole `dvc repro`, whose outputs are copies of the artifacts."""
    project = folder / "dvc"
    (project / "code").mkdir(parents=True)
    for name in ("train.jsonl", "evaluation.jsonl"):
        shutil.copy(folder / name, project)
    shutil.copytree(config.base.model, project / "base")
    (project / "params.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    planner = Planner(config.open_store())
    pipeline(config, planner)
    stages = {}
    for step in planner.steps:
        assert step.artifact is not None
        stage = step.label.replace(" ", "-")
        data, section = DAG[stage]
        source = f"code/{step.artifact.step}.py"
        shutil.copy(ROOT / "tasks" / Path(source).name, project / source)
        stages[stage] = {
            "cmd": f"cp -rL {shlex.quote(str(step.artifact.folder))} {stage}",
            "deps": [*data, source],
            "params": [section],
            "outs": [stage],
        }
    assert stages.keys() == DAG.keys()
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for words in ("init --no-scm", "config core.analytics false", "config core.check_update false", "repro"):
        measure([dvc, *words.split()], folder=project)
    return project


def cached(command: list[str | Path], folder: Path) -> Measured:
    measured = measure(command, folder=folder)
    assert measured.out.count("Cached") == len(DAG), measured.out
    return measured


def unchanged(command: list[str | Path], folder: Path) -> Measured:
    measured = measure(command, folder=folder)
    assert measured.out.count("didn't change") == len(DAG), measured.out
    return measured


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on a free port, ended afterwards; yields the environment that leads a run to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    env = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    }
    process = subprocess.Popen(
        [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the Prefect server did not start")
            time.sleep(0.2)
        yield env
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    main()
