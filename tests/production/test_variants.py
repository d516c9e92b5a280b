"""The production variant asks for a password and a token; whatever is in deployments/ can be applied again."""

import json
import subprocess

import pytest

from tests.production.service import event, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with served(tmp_path_factory.mktemp("guarded"), words=("--production",)) as service:
        yield service


def curl(*words: str) -> str:
    return subprocess.run(
        ["curl", "--fail", "--retry", "5", "--silent", *words], check=True, capture_output=True, text=True
    ).stdout


def known(service) -> dict[str, list[str]]:
    """The names of the deployments, automations and pools on the server."""
    user = tuple(json.loads((service.state / "service.json").read_text())["asked"]["auth"].split(":", 1))
    token = service.api.get("/csrf-token", params={"client": "known"}, auth=user).json()["token"]
    headers = {"Prefect-Csrf-Client": "known", "Prefect-Csrf-Token": token}
    found = {
        kind: service.api.post(f"/{kind}/filter", json={}, auth=user, headers=headers).json()
        for kind in ("deployments", "automations", "work_pools")
    }
    return {kind: sorted(each["name"] for each in those) for kind, those in found.items()}


def test_without_the_password_or_the_token_nothing_is_taken(guarded):
    secret = json.loads((guarded.state / "service.json").read_text())["asked"]["auth"]
    assert (guarded.state / "service.json").stat().st_mode & 0o077 == 0
    assert guarded.api.get("/admin/version").status_code == 401
    assert guarded.api.post("/flow_runs/filter", json={}).status_code == 403
    user = tuple(secret.split(":", 1))
    assert guarded.api.post("/flow_runs/filter", json={}, auth=user).status_code == 403
    token = json.loads(curl("--user", secret, f"{guarded.api.base_url}csrf-token?client=refresh"))["token"]
    csrf = ["--header", "Prefect-Csrf-Client: refresh", "--header", f"Prefect-Csrf-Token: {token}"]
    as_json = ["--header", "Content-Type: application/json", "--data", json.dumps([event()])]
    curl("--user", secret, *csrf, *as_json, f"{guarded.api.base_url}events")


def test_refresh_and_doctor_speak_to_a_guarded_server(guarded):
    done = guarded.reground("refresh", str(guarded.config))
    assert done.returncode == 0 and "emitted" in done.stdout, done.stdout + done.stderr
    told = guarded.reground("doctor", str(guarded.config), "--json").stdout
    found = {each["what"]: (each["mark"], each["value"]) for each in json.loads(told)}
    assert found["server"][0] == "ok" and f":{guarded.port}/api" in found["server"][1]
    secret = json.loads((guarded.state / "service.json").read_text())["asked"]["auth"]
    assert secret.split(":")[1] not in told + guarded.logs() + done.stdout + done.stderr


def test_up_again_changes_nothing_and_other_settings_are_refused(guarded):
    before = guarded.processes(), known(guarded)
    assert "runs already" in guarded.up()
    assert (guarded.processes(), known(guarded)) == before
    other = guarded.reground("up", str(guarded.config), "--port", str(guarded.port), "--database", "sqlite:///x")
    assert other.returncode == 2 and "reground down" in other.stderr
