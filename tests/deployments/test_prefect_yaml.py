"""prefect.yaml and automations.yaml say what Prefect understands, and name what there is; a server that takes them is
in tests/production.
"""

from uuid import uuid4

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.cli.deploy._triggers import DeploymentTriggerAdapter
from prefect.events.actions import RunDeployment
from prefect.events.related import tags_as_related_resources
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools.validation import validate

from flows.orchestration.service import apply
from flows.orchestration.service.state import Asked, Running, server_settings, stated
from flows.promotion.view import STATES
from tasks.engine.code.source import ROOT

FILE = yaml.safe_load(apply.DEPLOYMENTS.read_text(encoding="utf-8"))
DEPLOYMENTS = {each["name"]: each for each in FILE["deployments"]}


def flow_of(name: str):
    path, _, symbol = DEPLOYMENTS[name]["entrypoint"].rpartition(":")
    return import_object(f"{path.removesuffix('.py').replace('/', '.')}.{symbol}")


def test_it_is_a_prefect_file():
    assert len(PrefectYamlModel.model_validate(FILE).deployments) == len(DEPLOYMENTS)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_names_its_flow_a_pool_that_is_made_and_parameters_that_the_flow_has(name):
    entry, flow = DEPLOYMENTS[name], flow_of(name)
    assert flow.name == name and (ROOT / entry["entrypoint"].partition(":")[0]).is_file()
    assert entry["work_pool"]["name"] in stated()["pools"]
    schema = parameter_schema(flow).model_dump_for_openapi()
    given = [entry.get("parameters", {}), *(each.get("parameters", {}) for each in entry.get("schedules", []))]
    for parameters in given:
        validate(parameters, schema, raise_on_error=True, ignore_required=True)
        flow.validate_parameters(parameters) if parameters else None
    for trigger in entry.get("triggers", []):
        DeploymentTriggerAdapter.validate_python(trigger)
        assert trigger["parameters"].keys() <= schema["properties"].keys()
        RunDeployment(source="inferred", parameters=trigger["parameters"])


def test_where_the_server_listens_and_what_its_ui_calls_is_as_the_caller_says(monkeypatch):
    running = Running(asked=Asked(port=4300, configs={}))
    usual = server_settings(running)
    assert usual["PREFECT_SERVER_API_HOST"] == "127.0.0.1" and usual["PREFECT_UI_API_URL"] == "/api"
    given = {"PREFECT_SERVER_API_HOST": "0.0.0.0", "PREFECT_UI_API_URL": "https://team.example/api"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert server_settings(running) == usual | given


def test_alerts_are_left_out_while_there_is_no_block_to_send_them_by():
    block = uuid4()
    every = apply.read_automations(apply.AUTOMATIONS, block)
    silent = apply.read_automations(apply.AUTOMATIONS, None)
    assert len({each.name for each in every}) == len(every) > len(silent) == 1
    alerts = [each for each in every if each.name not in {other.name for other in silent}]
    assert {action.block_document_id for each in alerts for action in each.actions} == {block}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_run_is_taken_for_dead_only_after_several_signs_of_life_are_missing(name):
    """Its signs come as often as its own deployment says, whatever the worker that runs it was told."""
    (watch,) = apply.read_automations(apply.AUTOMATIONS, None)
    every = int(DEPLOYMENTS[name]["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert watch.trigger.within.total_seconds() >= 3 * every
    ends = {"Suspended", "Paused", "Completed", "Failed", "Crashed", "Cancelled", *STATES.values()}
    assert {f"prefect.flow-run.{each}" for each in ends} <= watch.trigger.expect


@pytest.mark.parametrize(
    ("tags", "watched"),
    [(DEPLOYMENTS["retrain"]["tags"], True), ([], False), (["tiny", "r=16"], False), (["nightly", "billing"], False)],
    ids=["deployment", "somebody", "terminal", "tagged"],
)
def test_only_runs_of_our_deployments_are_ever_taken_for_dead(tags, watched):
    """By the server's own matching of a sign of life: who gave none that counts is not waited for."""
    (watch,) = apply.read_automations(apply.AUTOMATIONS, None)
    trigger = EventTrigger.model_validate(watch.trigger.model_dump())
    run = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}"}
    flow = {"prefect.resource.id": f"prefect.flow.{uuid4()}", "prefect.resource.role": "flow"}
    for name in ("prefect.flow-run.heartbeat", "prefect.flow-run.Completed"):
        event = ReceivedEvent.model_validate(
            {
                "id": uuid4(),
                "occurred": "2026-11-30T05:00:00+00:00",
                "event": name,
                "resource": run,
                "related": [flow, *map(dict, tags_as_related_resources(set(tags)))],
            }
        )
        assert trigger.covers_resources(event.resource, event.related) == watched
