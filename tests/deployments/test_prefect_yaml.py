"""prefect.yaml and automations.yaml say what Prefect understands, and name what there is; a server that takes them is
in tests/production.
"""

from uuid import uuid4

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.cli.deploy._triggers import DeploymentTriggerAdapter
from prefect.events.actions import RunDeployment
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools.validation import validate

from flows.orchestration.service import apply
from flows.orchestration.service.state import Asked, Running, stated, worker_settings
from tasks.engine.code.source import ROOT

TOLD = yaml.safe_load(apply.DEPLOYMENTS.read_text(encoding="utf-8"))
DEPLOYMENTS = {each["name"]: each for each in TOLD["deployments"]}


def flow_of(name: str):
    path, _, symbol = DEPLOYMENTS[name]["entrypoint"].rpartition(":")
    return import_object(f"{path.removesuffix('.py').replace('/', '.')}.{symbol}")


def test_it_is_a_prefect_file():
    assert len(PrefectYamlModel.model_validate(TOLD).deployments) == len(DEPLOYMENTS)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_names_its_flow_a_pool_that_is_made_and_parameters_that_the_flow_has(name):
    told, flow = DEPLOYMENTS[name], flow_of(name)
    assert flow.name == name and (ROOT / told["entrypoint"].partition(":")[0]).is_file()
    assert told["work_pool"]["name"] in stated()["pools"]
    schema = parameter_schema(flow).model_dump_for_openapi()
    given = [told.get("parameters", {}), *(each.get("parameters", {}) for each in told.get("schedules", []))]
    for parameters in given:
        validate(parameters, schema, raise_on_error=True, ignore_required=True)
        flow.validate_parameters(parameters) if parameters else None
    for trigger in told.get("triggers", []):
        DeploymentTriggerAdapter.validate_python(trigger)
        assert trigger["parameters"].keys() <= schema["properties"].keys()
        RunDeployment(source="inferred", parameters=trigger["parameters"])


def test_alerts_are_left_out_while_there_is_no_block_to_send_them_by():
    block = uuid4()
    every = apply.read_automations(apply.AUTOMATIONS, block)
    silent = apply.read_automations(apply.AUTOMATIONS, None)
    assert len({each.name for each in every}) == len(every) > len(silent) == 1
    alerts = [each for each in every if each.name not in {other.name for other in silent}]
    assert {action.block_document_id for each in alerts for action in each.actions} == {block}


def test_a_run_is_taken_for_dead_only_after_several_signs_of_life_are_missing(tmp_path):
    (watch,) = apply.read_automations(apply.AUTOMATIONS, None)
    told = Running(asked=Asked(config=tmp_path / "config.yaml"))
    every = int(worker_settings(told)["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert watch.trigger.within.total_seconds() >= 3 * every
    assert {"prefect.flow-run.Suspended", "prefect.flow-run.Paused"} <= watch.trigger.expect
