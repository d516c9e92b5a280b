"""Bring a Prefect server to what `deployments/` says: work pools, deployments, automations, the alerts block.

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

from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError

DEPLOYMENTS = ROOT / "deployments/prefect.yaml"
AUTOMATIONS = ROOT / "deployments/automations.yaml"
POOLS = {"reground-gpu": 1, "reground-desk": 4}  # runs at once in each
ALERTS = "reground-alerts"  # the notification block


def apply(notify: str | None) -> list[str]:
    """Apply all of it to the server that is set; returns in a line each what is there now."""
    with get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            _pool(client, name, limit)
        _deploy()
        alerts = _alerts(client, notify)
        automatic = read_automations(AUTOMATIONS, alerts)
        for each in automatic:
            _automation(client, each)
    told = [f"work pools {', '.join(f'{name} ({limit} at once)' for name, limit in POOLS.items())}"]
    told += [f"deployments {', '.join(deployments())}", f"{len(automatic)} automation{'s' * (len(automatic) != 1)}"]
    return [*told, f"alerts through the block {ALERTS}" if alerts else "no alerts: give NOTIFY=URL to be told"]


def deployments() -> list[str]:
    """The deployments of prefect.yaml, as flow/name."""
    told = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    return [f"{each['entrypoint'].rpartition(':')[2]}/{each['name']}" for each in told]


def read_automations(path: Path, alerts: UUID | None) -> list[AutomationCore]:
    """The automations of a file, the alerts block filled in; those that need it are left out where there is none."""
    found = []
    for told in yaml.safe_load(path.read_text(encoding="utf-8")):
        named = [action for action in told["actions"] if action.get("block_document_id") == "alerts"]
        for action in named:
            action["block_document_id"] = alerts
        if alerts or not named:
            found.append(AutomationCore.model_validate(told))
    return found


def _pool(client: SyncPrefectClient, name: str, limit: int) -> None:
    told: dict[str, Any] = {
        "base_job_template": json.loads((ROOT / "deployments/pools/process.json").read_text(encoding="utf-8")),
        "concurrency_limit": limit,
    }
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", **told))
    else:
        client.update_work_pool(name, WorkPoolUpdate(**told))


def _deploy() -> None:
    """By Prefect's own command, as an engineer would: what prefect.yaml means is its affair."""
    words = ["--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS.relative_to(ROOT))]
    done = subprocess.run([sys.executable, "-m", "prefect", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"prefect deploy failed: {(done.stdout + done.stderr).strip()[-2000:]}", "mend what it names")


def _alerts(client: SyncPrefectClient, notify: str | None) -> UUID | None:
    """The block that alerts go through: made for the address given, else the one of its name if there is any."""
    if notify:
        block: NotificationBlock
        if notify.startswith("https://hooks.slack.com/"):
            block = SlackWebhook(url=SecretStr(notify))
        else:
            told: dict[str, Any] = {"subject": "{{subject}}", "text": "{{body}}"}
            block = CustomWebhookNotificationBlock(name=ALERTS, url=notify, json_data=told)
        saved: UUID = block.save(ALERTS, overwrite=True)  # type: ignore[assignment]
        return saved
    found = client.read_block_documents()
    return next((each.id for each in found if each.name == ALERTS), None)


def _automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Make it, or bring the one of its name up to date; one that a person switched off stays off.

    One that is as it should be is left alone: an update forgets what it is waiting for, a sign of life, say.
    """
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    wanted = wanted.model_copy(update={"enabled": found[0].enabled})
    known = AutomationCore.model_validate(found[0].model_dump(include=set(AutomationCore.model_fields)))
    if known.model_dump() != wanted.model_dump():
        client.update_automation(found[0].id, wanted)
