"""Bring a Prefect server to what `deployments/` says: work pools, deployments, automations, the block for alerts.

Everything is found again by its name, so that applying twice is applying once.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from flows.orchestration.service.state import stated
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError

DEPLOYMENTS = ROOT / "deployments/prefect.yaml"
AUTOMATIONS = ROOT / "deployments/automations.yaml"
ALERTS = "reground-alerts"  # the notification block


def apply(notify: str | None) -> list[str]:
    """Apply all of it to the server that is set; returns a line for each kind of thing."""
    pools = stated()["pools"]
    with get_client(sync_client=True) as client:
        for name, limit in pools.items():
            _apply_pool(client, name, limit)
        _deploy()
        alerts = _apply_alerts(client, notify)
        automations = read_automations(AUTOMATIONS, alerts)
        for each in automations:
            _apply_automation(client, each)
    return [
        f"work pools {', '.join(f'{name} ({limit} at once)' for name, limit in pools.items())}",
        f"deployments {', '.join(deployments())}",
        f"{len(automations)} automation{'s' * (len(automations) != 1)}",
        f"alerts through the block {ALERTS}" if alerts else "no alerts: give NOTIFY=URL to get them",
    ]


def deployments() -> list[str]:
    """The deployments of prefect.yaml, as flow/name."""
    listed = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    return [f"{each['entrypoint'].rpartition(':')[2]}/{each['name']}" for each in listed]


def read_automations(path: Path, alerts: UUID | None) -> list[AutomationCore]:
    """The automations of a file, with the alerts block filled in; without one, those that need it are left out."""
    found = []
    for automation in yaml.safe_load(path.read_text(encoding="utf-8")):
        alerting = [action for action in automation["actions"] if action.get("block_document_id") == "alerts"]
        for action in alerting:
            action["block_document_id"] = alerts
        if alerts or not alerting:
            found.append(AutomationCore.model_validate(automation))
    return found


def _apply_pool(client: SyncPrefectClient, name: str, limit: int) -> None:
    template = json.loads((ROOT / "deployments/pools/process.json").read_text(encoding="utf-8"))
    wanted: dict[str, Any] = {"base_job_template": template, "concurrency_limit": limit}
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", **wanted))
    else:
        client.update_work_pool(name, WorkPoolUpdate(**wanted))


def _deploy() -> None:
    """By Prefect's own command, as an engineer would: it alone knows what prefect.yaml means."""
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS.relative_to(ROOT))]
    done = subprocess.run([sys.executable, "-m", "prefect", *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"prefect deploy failed: {(done.stdout + done.stderr).strip()[-2000:]}", "fix what it names")


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
    """Create it, or update the one of its name; one that a person switched off stays off.

    One that is as wanted is left alone: an update forgets what it is waiting for, such as a sign of life.
    """
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    wanted = wanted.model_copy(update={"enabled": found[0].enabled})
    known = AutomationCore.model_validate(found[0].model_dump(include=set(AutomationCore.model_fields)))
    if known.model_dump() != wanted.model_dump():
        client.update_automation(found[0].id, wanted)
