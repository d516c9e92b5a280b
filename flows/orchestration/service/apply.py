"""Bring a Prefect server to what `deployments/` says: work pools, deployments, automations, the block for alerts.

Everything is found again by its name, and carries a stamp of what it was made from: what is as it was stays as it is,
with whatever an operator has changed since.

The deployments of a project are named by it, `retrain/PROJECT`; those of a project that is served alone are named by
their flows, `retrain/retrain`, and keep these names when others are added.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import UUID

import yaml
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from flows import settings
from flows.config import Retrain, load
from flows.orchestration.service.form import shaped
from flows.orchestration.service.state import home, stated
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_file, sha256_json

DEPLOYMENTS = ROOT / "deployments/prefect.yaml"
AUTOMATIONS = ROOT / "deployments/automations.yaml"
ALERTS = "reground-alerts"  # the notification block
PROJECT = "project:"  # begins the tag of a project's deployments, and so of their runs
RESOURCE = "prefect.resource.id"


def apply(configs: Mapping[str, Path], notify: str | None, *, alone: bool = True) -> list[str]:
    """Apply all of it, for each project by its config, to the server that is set; a line for each kind of thing.

    Unless `alone`, other projects on the server stay as they are.
    """
    pools = stated()["pools"]
    with get_client(sync_client=True) as client:
        changed = [name for name, limit in pools.items() if not _apply_pool(client, name, limit)]
        made = _apply_deployments(client, configs, alone)
        alerts = _apply_alerts(client, notify)
        automations = read_automations(AUTOMATIONS, alerts, configs if alone else ())
        for each in automations:
            _apply_automation(client, each)
    return [
        f"work pools {', '.join(f'{name} ({limit} at once)' for name, limit in pools.items() if name not in changed)}",
        *(f"work pool {name}, as it was changed" for name in changed),
        *(f"project {project}: deployments {', '.join(names)}" for project, names in made.items()),
        f"{len(automations)} automation{'s' * (len(automations) != 1)}",
        f"alerts through the block {ALERTS}" if alerts else "no alerts: give NOTIFY=URL to get them",
    ]


def deployments() -> list[str]:
    """The flows that prefect.yaml deploys."""
    return [each["name"] for each in _listed()]


def _listed() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    return listed


def read_automations(path: Path, alerts: UUID | None, projects: Iterable[str] = ()) -> list[AutomationCore]:
    """The automations of a file, with the alerts block filled in; without one, those that need it are left out.

    Of one project alone it is known that events of any other start nothing.
    """
    found, only = [], list(projects)
    for automation in yaml.safe_load(path.read_text(encoding="utf-8")):
        if len(only) == 1 and automation["trigger"].get("match") == {RESOURCE: "!reground.dataset.*"}:
            automation["trigger"]["match"] = {RESOURCE: f"!reground.dataset.{only[0]}"}
        alerting = [action for action in automation["actions"] if action.get("block_document_id") == "alerts"]
        for action in alerting:
            action["block_document_id"] = alerts
        if alerts or not alerting:
            found.append(AutomationCore.model_validate(automation))
    return found


def _apply_pool(client: SyncPrefectClient, name: str, limit: int) -> bool:
    """Create it, or bring it up to date; False if an operator has changed its limit or template, which then stay."""
    template = json.loads((ROOT / "deployments/pools/process.json").read_text(encoding="utf-8"))
    wanted: dict[str, Any] = {"base_job_template": template, "concurrency_limit": limit}
    wanted["description"] = f"Made by `reground up`, as of {_stamp(template, limit)}"
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", **wanted))
        return True
    stamp = _stamp(found.base_job_template, found.concurrency_limit)
    if stamp not in (wanted["description"] + (found.description or "")):
        return False
    if found.description != wanted["description"]:
        client.update_work_pool(name, WorkPoolUpdate(**wanted))
    return True


def _apply_deployments(client: SyncPrefectClient, configs: Mapping[str, Path], alone: bool) -> dict[str, list[str]]:
    """The names of each project's. Of a service that is `alone` those of other projects go; their runs stay."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["reground"]))
    known = {f"{flows.get(each.flow_id)}/{each.name}": each for each in client.read_deployments(deployment_filter=ours)}
    unnamed = known.get("retrain/retrain")
    plain = _project_of(unnamed) if unnamed else None
    if (len(configs) == 1 and alone) or (unnamed and plain is None):  # of before projects
        plain = next(iter(configs))
    made: dict[str, list[str]] = {}
    stores: set[str] = set()
    for project, path in configs.items():
        config = load(path)
        places = {each["name"]: f"{each['name']}/{each['name'] if project == plain else project}" for each in _listed()}
        wanted = [_deployment(each, places[each["name"]], path, config, stores) for each in _listed()]
        stores.add(config.open_store().url)
        stamp = _stamp(wanted, config.model_dump(mode="json"), _code())
        if any(getattr(known.get(name), "version", None) != stamp for name in places.values()):
            _deploy([each | {"version": stamp} for each in _kept(wanted, places, known)], path)
            for name in places.values():
                found, before = client.read_deployment_by_name(name), known.get(name)
                schema = {"parameter_openapi_schema": shaped(found.parameter_openapi_schema or {})}
                own = _own(before, found) if before else {}
                client.request("PATCH", "/deployments/{id}", path_params={"id": found.id}, json=schema | own)
                for schedule in _own_schedules(before, found) if before else ():
                    client.request("POST", "/deployments/{id}/schedules", path_params={"id": found.id}, json=[schedule])
        made[project] = [*places.values()]
    for name, each in known.items():
        if alone and _project_of(each) and not any(name in names for names in made.values()):
            client.delete_deployment(each.id)
    return made


def _deployment(stated: dict[str, Any], name: str, path: Path, config: Retrain, stores: set[str]) -> dict[str, Any]:
    """A deployment of prefect.yaml as a project has it: its name, config, tag and events."""
    made: dict[str, Any] = json.loads(json.dumps(stated))  # YAML's anchors are one object in many places
    made["name"] = name.partition("/")[2]
    if home() != ROOT:  # installed: a module, found from any folder
        made["entrypoint"] = made["entrypoint"].replace("/", ".").replace(".py:", ".")
    made["tags"] = [*made["tags"], f"{PROJECT}{config.project}"]
    made["work_pool"]["job_variables"]["env"][settings.CONFIG] = str(path)
    for trigger in made.get("triggers", ()):
        trigger["name"] = f"{trigger['name']} · {config.project}"
        trigger["match"][RESOURCE] = trigger["match"][RESOURCE].replace("*", config.project)
    if stated["name"] == "maintain" and config.open_store().url in stores:  # the store has a weekly round already
        made["schedules"] = [each | {"active": False} for each in made["schedules"]]
    return made


def _kept(wanted: list[dict[str, Any]], places: dict[str, str], known: Mapping[str, DeploymentResponse]) -> Any:
    """With what an operator has added to the environment of its runs, and the schedules paused that are paused now."""
    for each, place in zip(wanted, places.values(), strict=True):
        if not (found := known.get(place)):
            continue
        ours, theirs = each["work_pool"]["job_variables"], found.job_variables
        each["work_pool"]["job_variables"] = theirs | ours | {"env": theirs.get("env", {}) | ours["env"]}
        paused = {schedule.slug for schedule in found.schedules if not schedule.active}
        for schedule in each.get("schedules", ()):
            schedule["active"] = schedule.get("active", True) and schedule["slug"] not in paused
    return wanted


def _own(before: DeploymentResponse, now: DeploymentResponse) -> dict[str, Any]:
    """The tags and the limit that an operator gave a deployment, which `prefect deploy` has taken away."""
    limit, how = before.global_concurrency_limit, before.concurrency_options
    limited: dict[str, Any] = {"concurrency_limit": limit.limit} if limit else {}
    limited |= {"concurrency_options": how.model_dump(mode="json")} if limit and how else {}
    return {"tags": [*now.tags, *(tag for tag in before.tags if tag not in now.tags)], **limited}


def _own_schedules(before: DeploymentResponse, now: DeploymentResponse) -> list[dict[str, Any]]:
    """And the schedules."""
    kept = {each.schedule.model_dump_json() for each in now.schedules}
    fields = {"schedule", "active", "parameters", "slug", "max_scheduled_runs"}
    lost = [each for each in before.schedules if not each.slug and each.schedule.model_dump_json() not in kept]
    return [each.model_dump(mode="json", include=fields, exclude_none=True) for each in lost]


def _deploy(wanted: list[dict[str, Any]], config: Path) -> None:
    """By Prefect's own command, as an engineer would: it alone knows what prefect.yaml means."""
    with NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump({"name": "reground", "deployments": wanted}, file, sort_keys=False)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name]
        environment = os.environ | {settings.CONFIG: str(config)}  # what the forms begin with
        done = subprocess.run(command, cwd=home(), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"prefect deploy failed: {(done.stdout + done.stderr).strip()[-2000:]}", "fix what it names")


def _project_of(deployment: DeploymentResponse) -> str | None:
    return next((tag.removeprefix(PROJECT) for tag in deployment.tags if tag.startswith(PROJECT)), None)


def _stamp(*made_from: Any) -> str:
    return sha256_json(made_from)[:12]


def _code() -> str:
    """Of all code: the forms are made from it."""
    paths = sorted(path for folder in ("flows", "tasks") for path in (ROOT / folder).rglob("*.py"))
    return sha256_json([sha256_file(path) for path in paths])


def _apply_alerts(client: SyncPrefectClient, notify: str | None) -> UUID | None:
    """The block that sends alerts: saved for the address given, else the one that exists, if any."""
    if not notify:
        return next((each.id for each in client.read_block_documents() if each.name == ALERTS), None)
    block: NotificationBlock = (
        SlackWebhook(url=SecretStr(notify))
        if notify.startswith("https://hooks.slack.com/")
        else CustomWebhookNotificationBlock(
            name=ALERTS, url=notify, json_data={"subject": "{{subject}}", "text": "{{body}}"}
        )
    )
    saved: UUID = block.save(ALERTS, overwrite=True)  # type: ignore[assignment]
    return saved


def _apply_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Create it, or bring the one of its name up to date, unless an operator has changed it; one that is off stays off.

    One that is as wanted is left alone: an update forgets what it is waiting for, such as a sign of life.
    """
    found = client.read_automations_by_name(wanted.name)
    stamped = wanted.model_copy(update={"tags": [f"as-of:{_stamp_of(wanted)}"]})
    if not found:
        client.create_automation(stamped)
        return
    known = AutomationCore.model_validate(found[0].model_dump(include=set(AutomationCore.model_fields)))
    stamps = [tag for tag in known.tags if tag.startswith("as-of:")]
    if stamps != stamped.tags and stamps in ([], [f"as-of:{_stamp_of(known)}"]):
        client.update_automation(found[0].id, stamped.model_copy(update={"enabled": known.enabled}))


def _stamp_of(automation: AutomationCore) -> str:
    return _stamp(automation.model_dump(mode="json", exclude={"enabled", "tags"}))
