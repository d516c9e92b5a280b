"""SIGKILL at random over whole runs, and many runs at once: nothing partial, nothing twice, the same end.

REGROUND_KILLS shortens the tests or lengthens them, REGROUND_SEED gives them other instants.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.toy import project
from tests.faults.whole import contents

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("REGROUND_KILLS", 200))
SEED = int(os.environ.get("REGROUND_SEED", 0))
MANY = KILLS > 20
CHAINS = 2 if MANY else 1  # at once: one for each core of the smallest machine
RUNS, KILLED = (8, 5) if MANY else (4, 2)  # of runs that start at once
STEPS = ["validate", "validate", "build", "train", "export", "answer", "score", "answer", "score", "gate", "report"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return project(tmp_path_factory.mktemp("faults") / "project")


def start(module: str, config: Path, folder: Path, *numbers: int, **environment: str) -> "subprocess.Popen[str]":
    """A process of its own that forks runs; one thread each, or two chains would wait for each other's."""
    folder.mkdir()
    one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    own = {"PREFECT_HOME": str(folder / "prefect"), "XDG_CACHE_HOME": str(folder / "cache"), **environment}
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.faults.{module}", str(config), str(folder), *map(str, numbers)],
        cwd=ROOT,
        env={**os.environ, **one_thread, **own},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def told(process: "subprocess.Popen[str]") -> dict:
    out, err = process.communicate()
    assert process.returncode == 0, err[-8000:]
    return json.loads(out)


def test_a_run_killed_at_any_instant_leaves_what_is_whole_and_ends_the_same(config, tmp_path, prefect_server, capsys):
    from prefect.settings import PREFECT_API_URL

    environment = {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    numbers = [(KILLS // CHAINS + (chain < KILLS % CHAINS), SEED + chain) for chain in range(CHAINS)]
    chains = [start("chain", config, tmp_path / str(seed), kills, seed, **environment) for kills, seed in numbers]
    found = [told(chain) for chain in chains]
    kills, during = (sum((Counter(each[name]) for each in found), Counter()) for name in ("kills", "during"))
    with capsys.disabled():
        print(f"\n{kills.total()} kills of {sum(e['stores'] for e in found)} stores, seeds {SEED} and {SEED + 1}:")
        for what, count in (*sorted(kills.items()), *during.items()):
            print(f"  {count:4} {what}")
    assert kills.total() >= KILLS


@pytest.fixture(scope="module")
def together(config, tmp_path_factory):
    """Runs that start at once on an empty store; the same, and some of them are killed: what became, and the store."""
    folder = tmp_path_factory.mktemp("faults") / "together"
    found = told(start("together", config, folder, RUNS, KILLED, SEED))
    return [(each, folder / name / "store") for name, each in found.items()]


def test_of_runs_at_once_each_key_is_computed_by_one_and_all_succeed(together):
    (found, store), _ = together
    assert found["codes"] == [0] * RUNS
    made = contents(store)
    assert found["begun"] == dict.fromkeys(made, 1)
    assert [about.partition("/")[0] for about in made] == STEPS


def test_when_some_of_the_runs_are_killed_the_others_take_over(together):
    (_, undisturbed), (found, store) = together
    assert sorted(found["codes"]) == [-signal.SIGKILL] * KILLED + [0] * (RUNS - KILLED)
    assert contents(store) == contents(undisturbed)
    assert sum(times - 1 for times in found["begun"].values()) <= KILLED
