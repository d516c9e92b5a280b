"""Two projects on one service and one store: each has its own deployments, champion and events, and both live."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.production.service import event

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
DATABASE = "sqlite"

LONGER = 200  # seconds: the crash automation waits for 120, and Prefect's own heartbeat comes every 180
OTHER = f"import time\nfrom prefect import flow\n@flow(name='billing')\ndef billing(): time.sleep({LONGER})\nbilling()"


@pytest.fixture(scope="module")
def two(service):
    """The service of `small`, and `south` added to it."""
    south = service.folder / "south.yaml"
    south.write_text(yaml.safe_dump(service.tree(seed=5) | {"name": "South"}))
    added = service.reground("up", "--add", str(south), *service.words)
    assert added.returncode == 0, added.stdout + added.stderr
    return service


@pytest.fixture(scope="module")
def somebody(two):
    """Somebody else's flow on the same server, longer than any limit."""
    home = {"PREFECT_API_URL": str(two.api.base_url).rstrip("/"), "PREFECT_HOME": str(two.folder / "other")}
    return subprocess.Popen([sys.executable, "-c", OTHER], env=os.environ | home)


def champions(service) -> dict[str, str | None]:
    told = service.reground("projects", "--config", str(service.config), "--json")
    return {each["project"]: each["champion"] for each in json.loads(told.stdout)}


def ended_well(service, run: str) -> dict:
    ended = service.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    return ended


def test_each_has_its_own_deployments_and_a_form_acts_on_its_own_champion(two, somebody):
    runs = [two.start("retrain/retrain"), two.start("retrain/south", config={"train.lora.r": 8})]
    for run in runs:
        assert ended_well(two, run)["state_name"] == "Undecided"
    decided = two.artifacts(runs[1])["decision"]
    assert decided.startswith("# Undecided")
    ask = {"adapter": "challenger", "force": True, "because": "to try it"}
    assert ended_well(two, two.start("promote/south", request=ask))["state_name"] == "Promoted"
    served = champions(two)
    assert served["south"] and not served["small"]
    failed = two.ended(two.start("rollback/rollback", request={"because": "it errs"}))
    assert "no champion to roll back" in failed["state"]["message"]
    assert champions(two) == served


def test_an_event_starts_the_run_of_its_project_alone(two):
    before = len(two.runs("retrain/retrain")), len(two.runs("retrain/south"))
    resource = {"prefect.resource.id": "reground.dataset.south", "prefect.resource.name": "south"}
    two.post("/events", [event(resource=resource)])
    two.until(lambda: len(two.runs("retrain/south")) > before[1])
    ended_well(two, two.runs("retrain/south")[-1]["id"])
    assert len(two.runs("retrain/retrain")) == before[0]


@pytest.mark.parametrize("parameters", [{"confg": {}}, {"config": {"train.lora.rank": 8}}])
def test_a_parameter_that_there_is_not_is_refused(two, parameters):
    path = f"/deployments/{two.deployment('retrain/south')['id']}/create_flow_run"
    answer = two.api.post(path, json={"parameters": parameters})
    assert answer.status_code == 409 and ("confg" in answer.text or "train.lora.rank" in answer.text)


def test_what_an_operator_has_changed_outlives_another_up(two):
    two.api.patch("/work_pools/reground-gpu", json={"concurrency_limit": 3}).raise_for_status()
    found = two.deployment("retrain/south")
    place, variables = f"/deployments/{found['id']}", found["job_variables"]
    changes = {"tags": [*found["tags"], "team-south"], "concurrency_limit": 2}
    changes["job_variables"] = variables | {"env": variables["env"] | {"HF_HOME": "/models"}}
    two.api.patch(place, json=changes).raise_for_status()
    (weekly,) = found["schedules"]
    two.api.patch(f"{place}/schedules/{weekly['id']}", json={"active": False}).raise_for_status()
    two.post(f"{place}/schedules", [{"schedule": {"cron": "0 6 * * *", "timezone": "UTC"}, "active": False}])
    south = two.folder / "south.yaml"
    south.write_text(south.read_text().replace("max_new_tokens: 8", "max_new_tokens: 9"))  # so it is deployed again
    two.up()
    assert two.api.get("/work_pools/reground-gpu").json()["concurrency_limit"] == 3
    now = two.deployment("retrain/south")
    assert now["version"] != found["version"] and "team-south" in now["tags"]
    assert now["job_variables"]["env"]["HF_HOME"] == "/models"
    assert now["global_concurrency_limit"]["limit"] == 2
    crons = {each["schedule"]["cron"]: each["active"] for each in now["schedules"]}
    assert crons == {weekly["schedule"]["cron"]: False, "0 6 * * *": False}


def test_somebody_elses_flow_lives(two, somebody):
    assert somebody.wait() == 0
    found = two.post("/flow_runs/filter", {"flows": {"name": {"any_": ["billing"]}}})
    assert [each["state_type"] for each in found] == ["COMPLETED"]
