"""A service with password and token: who may speak to it, and what fails there, done to real processes.

Nothing is orphaned, nothing keeps the GPU, nothing is lost. One training of 80 steps that leaves a checkpoint at every
fifth goes through all of it: each test ends its run in another way, and the next goes on from where that left off.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.production.service import children, event

pytestmark = pytest.mark.slow
DATABASE = "sqlite"
WORDS = ("--production",)

OTHER = {"prefect.resource.id": "reground.dataset.other"}  # of no project here: it starts nothing
LONG = {"max_steps": 80, "accumulation": 1, "save_steps": 5, "logging_steps": 5, "eval_steps": 80}


def start(service) -> tuple[str, int]:
    """A run of the long training that has written a checkpoint of its own: its id, and the training child's number."""
    whole = "store/.work/train/*/checkpoints/checkpoint-*/seal.json"
    before = set(service.folder.glob(whole))
    run = service.start(config=service.tree(**LONG))
    child = service.training(run)
    service.until(lambda: set(service.folder.glob(whole)) - before)
    return run, child


def steps(service) -> list[int]:
    """The steps of the checkpoints that are there."""
    found = service.folder.glob("store/.work/train/*/checkpoints/checkpoint-*/seal.json")
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in found)


def gone(service, child: int) -> None:
    """Wait until a training child has ended."""
    service.until(lambda: child not in children(service.folder))


def flow_of(child: int) -> int:
    """The flow's process, the parent of the training child."""
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


def resumed(service, run: str) -> bool:
    found = service.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
    return any("resuming from checkpoint-" in each["message"] for each in found)


def curl(*words: str) -> str:
    return subprocess.run(
        ["curl", "--fail", "--retry", "5", "--silent", *words], check=True, capture_output=True, text=True
    ).stdout


def known(service) -> dict[str, list[str]]:
    """The names of the deployments, automations and pools on the server."""
    kinds = ("deployments", "automations", "work_pools")
    return {kind: sorted(each["name"] for each in service.post(f"/{kind}/filter", {})) for kind in kinds}


def test_without_the_password_or_the_token_nothing_is_taken(service):
    secret = service.secret
    stranger = service.client()
    assert (service.state / "service.json").stat().st_mode & 0o077 == 0
    assert stranger.get("/admin/version").status_code == 401
    assert stranger.post("/flow_runs/filter", json={}).status_code == 403
    user = tuple(secret.split(":", 1))
    assert stranger.post("/flow_runs/filter", json={}, auth=user).status_code == 403
    token = json.loads(curl("--user", secret, f"{service.api.base_url}csrf-token?client=refresh"))["token"]
    csrf = ["--header", "Prefect-Csrf-Client: refresh", "--header", f"Prefect-Csrf-Token: {token}"]
    as_json = ["--header", "Content-Type: application/json", "--data", json.dumps([event(resource=OTHER)])]
    curl("--user", secret, *csrf, *as_json, f"{service.api.base_url}events")


def test_up_again_changes_nothing_and_other_settings_are_refused(service):
    before = service.processes(), known(service)
    assert "runs already" in service.up()
    assert (service.processes(), known(service)) == before
    other = service.reground("up", str(service.config), "--port", str(service.port), "--database", "sqlite:///x")
    assert other.returncode == 2 and "reground down" in other.stderr


def test_cancel_ends_the_training_and_keeps_its_checkpoint(service):
    run, child = start(service)
    service.post(
        f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    )  # as the UI does
    gone(service, child)
    assert service.ended(run)["state_type"] == "CANCELLED"
    assert steps(service)


@pytest.mark.nightly
def test_a_killed_training_child_fails_the_run_with_words_and_the_next_goes_on(service, alerts):
    before = steps(service)[-1]
    run, child = start(service)
    os.kill(child, signal.SIGKILL)
    ended = service.ended(run)
    assert ended["state_type"] == "FAILED"
    assert "SIGKILL" in ended["state"]["message"] and "run again" in ended["state"]["message"]
    assert resumed(service, run) and steps(service)[-1] > before
    service.until(lambda: any("Failed" in each["subject"] for each in alerts))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL])
def test_a_flow_that_is_killed_leaves_no_training_behind_and_the_next_goes_on(service, number):
    run, child = start(service)
    os.kill(flow_of(child), number)
    gone(service, child)
    assert service.ended(run)["state_type"] == "CRASHED"
    assert resumed(service, run)


@pytest.mark.nightly
def test_a_run_outlives_its_worker_and_a_restart_of_the_server(service):
    run, child = start(service)
    found = service.processes()
    os.kill(found["worker of reground-gpu"], signal.SIGKILL)
    os.kill(found["server"], signal.SIGTERM)
    service.until(lambda: not Path(f"/proc/{found['server']}").exists())
    service.up()
    assert service.processes().keys() == found.keys()
    assert child in children(service.folder) or service.ended(run)["state_type"] == "COMPLETED", "it did notice"
    assert service.ended(run)["state_type"] == "COMPLETED"
    assert resumed(service, run)


def test_a_run_whose_worker_and_flow_are_killed_is_crashed_and_gives_up_its_place(service):
    run = service.start(config=service.tree(**LONG | {"seed": 7}))
    child = service.training(run)
    flow = flow_of(child)
    os.kill(service.processes()["worker of reground-gpu"], signal.SIGKILL)
    os.kill(flow, signal.SIGKILL)
    gone(service, child)
    assert service.run(run)["state_type"] == "RUNNING"  # nobody was left to tell
    service.up()
    ended = service.ended(run)
    assert ended["state_type"] == "CRASHED" and "no sign of life" in ended["state"]["message"]


def test_refresh_and_doctor_speak_to_a_guarded_server(service):
    done = service.reground("refresh", str(service.config))
    assert done.returncode == 0 and "emitted" in done.stdout, done.stdout + done.stderr
    told = service.reground("doctor", str(service.config), "--json").stdout
    found = {each["what"]: (each["mark"], each["value"]) for each in json.loads(told)}
    assert found["server"][0] == "ok" and f":{service.port}/api" in found["server"][1]
    assert service.secret.split(":")[1] not in told + service.logs() + done.stdout + done.stderr
