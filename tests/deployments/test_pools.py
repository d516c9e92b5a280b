"""The job templates of the pools, by the schemas of those who will read them: Prefect's workers, Docker, Kubernetes."""

import asyncio
import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

ROOT = Path(__file__).resolve().parents[2]
POOLS = ROOT / "deployments/pools"
NAMES = ("process", "docker", "kubernetes")


def template(name: str) -> dict:
    return json.loads((POOLS / f"{name}.json").read_text())


def configuration(name: str, **values):
    """What the worker makes of the template for a run, with these job variables."""
    if name == "process":
        from prefect.workers.process import ProcessJobConfiguration as Configuration
    elif name == "docker":
        from prefect_docker.worker import DockerWorkerJobConfiguration as Configuration
    else:
        from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration
    configured = asyncio.run(
        Configuration.from_template_and_values(template(name), values, client=Mock())
    )  # no blocks in it
    flow_run = Mock(id="0193", flow_id="1", parameters={})
    flow_run.name = "retrain tiny"
    configured.prepare_for_flow_run(flow_run)
    return configured


def test_each_template_here_is_tested():
    assert {path.name for path in POOLS.iterdir()} == {f"{name}.json" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_work_pool_takes_the_template_and_its_own_defaults(name):
    from jsonschema import Draft202012Validator
    from prefect.server.schemas.actions import WorkPoolCreate

    configured = template(name)
    WorkPoolCreate(name=name, type=name, base_job_template=configured)
    variables = configured["variables"]
    Draft202012Validator.check_schema(variables)
    defaults = {key: each["default"] for key, each in variables["properties"].items() if "default" in each}
    Draft202012Validator(variables).validate(defaults)
    asked = set(re.findall(r"{{ (\w+) }}", json.dumps(configured["job_configuration"])))
    assert asked == set(variables["properties"])  # nothing that the form offers is ignored
    assert all(each["description"] for each in variables["properties"].values())


def test_a_process_is_started_with_quiet_threads():
    configured = configuration("process", working_dir="/srv/reground")
    assert configured.env["GOMP_SPINCOUNT"] == "10000"
    assert configured.working_dir == Path("/srv/reground")


def test_a_container_gets_a_gpu_shared_memory_and_volumes_and_no_rights():
    from docker.models.containers import _create_container_args
    from prefect_docker.worker import DockerWorker

    configured = configuration("docker", gpus=2, mem_limit="64g")
    daemon = Mock()
    daemon.version.return_value = {"Version": "27.0.0"}
    worker = DockerWorker("reground-gpu")
    settings = worker._build_container_settings(daemon, configured)
    asked = _create_container_args({**settings, "version": "1.43"})
    host = asked["host_config"]
    assert host["DeviceRequests"][0] == {
        "Driver": "nvidia",
        "Count": 2,
        "DeviceIDs": [],
        "Capabilities": [["gpu"]],
        "Options": {},
    }
    assert host["ShmSize"] == 8 << 30
    assert host["Memory"] == 64 << 30
    assert host["Binds"] == ["reground-artifacts:/artifacts", "reground-cache:/cache"]
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host.get("Privileged")
    assert asked["user"] == "1000:1000"
    assert asked["environment"]["HF_HOME"] == "/cache/huggingface"


@pytest.fixture(scope="module")
def job():
    return configuration("kubernetes", gpus=2, shm_size="16Gi").job_manifest


def test_a_job_is_what_the_kubernetes_api_takes(job):
    import kubernetes_validate

    pod = job["spec"]["template"]["spec"]
    # Prefect demands them there, though they belong to the job; Kubernetes ignores them with a warning.
    strict = {key: value for key, value in pod.items() if key not in ("parallelism", "completions")}
    spec = {**job["spec"], "template": {**job["spec"]["template"], "spec": strict}}
    refused = None
    try:
        kubernetes_validate.validate({**job, "spec": spec}, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        refused = error.message
    assert refused is None


def test_the_check_of_a_job_would_find_a_misspelt_field(job):
    import kubernetes_validate

    wrong = json.loads(json.dumps(job))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_a_job_has_a_gpu_memory_to_share_its_volumes_and_no_rights(job):
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert volumes[mounts["/artifacts"]]["persistentVolumeClaim"] == {"claimName": "reground-artifacts"}
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert pod["terminationGracePeriodSeconds"] == 60


def test_a_pod_that_is_evicted_has_its_run_scheduled_again(job):
    """Kubernetes must not retry it as well: two would train at once."""
    env = {each["name"]: each["value"] for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert job["spec"]["backoffLimit"] == 0
    assert env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
