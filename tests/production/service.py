"""A service of its own for the tests: `reground up` on a free port, with a config whose run takes half a minute."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from prefect.client.base import PrefectHttpxSyncClient

from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
DONE = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Service:
    """What `reground up` starts, its data in a folder that a test may edit, and its server's API."""

    def __init__(self, folder: Path, *, database: str | None = None, words: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self.words = ["--port", str(self.port), *(["--database", database] if database else []), *words]
        self.api = self.client()
        for name, rows in (("train", 80), ("evaluation", 24)):
            lines = (ROOT / f"data/plant/{name}.jsonl").read_text().splitlines(keepends=True)
            (folder / f"{name}.jsonl").write_text("".join(lines[:rows]))
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(self.tree()))

    def client(self, secret: str = "") -> PrefectHttpxSyncClient:
        """Prefect's own, because a server on SQLite answers 503, "ask again", when two processes write at once."""
        return PrefectHttpxSyncClient(
            base_url=f"http://127.0.0.1:{self.port}/api",
            timeout=PATIENCE,
            raise_on_all_errors=False,
            enable_csrf_support=bool(secret),
            auth=tuple(secret.split(":", 1)) or None if secret else None,
        )

    @property
    def secret(self) -> str:
        """USER:PASSWORD of a production service."""
        return json.loads((self.state / "service.json").read_text())["asked"]["auth"] or ""

    def tree(self, **train: Any) -> dict[str, Any]:
        """The config; `train` changes settings of the training, of two steps if nothing else is said."""
        return {
            "name": "small",
            "store": str(self.folder / "store"),
            "data": {name: str(self.folder / f"{name}.jsonl") for name in ("train", "evaluation")},
            "validate": {"refusal": "Not stated in the sheet."},
            "prompt": {"system": "", "user": "Context: {{ passages | join('\\n') }}\nQuestion: {{ query }}"},
            "build": {"max_tokens": 256},
            # The rate has two steps change answers.
            "train": {"max_steps": 2, "eval_steps": 2, "logging_steps": 1, "save_steps": 1, "batch_size": 1}
            | {"learning_rate": 0.02}
            | train,
            "answer": {"max_new_tokens": 8},
            "parity": {"enabled": False},
            "slices": {"enabled": False},
        }

    def reground(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=ROOT,
            env=environment | {"REGROUND_STATE": str(self.state), "COLUMNS": "200"} | settings,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def up(self) -> str:
        done = self.reground("up", str(self.config), *self.words)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def down(self) -> None:
        done = self.reground("down")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not self.left(), "processes that nobody ends"

    def left(self) -> list[str]:
        """The workers and servers that speak to our port."""
        address = f"PREFECT_API_URL=http://127.0.0.1:{self.port}/api"
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words, settings = ((path / each).read_bytes().decode() for each in ("cmdline", "environ"))
            except (OSError, UnicodeDecodeError):
                continue
            if "prefect\0" in words and address in settings.split("\0"):
                found.append(words.replace("\0", " "))
        return found

    def logs(self) -> str:
        return "\n".join(f"--- {each.name}\n{each.read_text()[-3000:]}" for each in sorted(self.state.glob("*.log")))

    def processes(self) -> dict[str, int]:
        """The number of each process that the service started."""
        stated = json.loads((self.state / "service.json").read_text())
        return {name: int(tag.split("-")[1]) for name, tag in stated["processes"].items()}

    def post(self, path: str, body: Any) -> Any:
        answer = self.api.post(path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        answer = self.api.get(f"/deployments/name/{name}")
        answer.raise_for_status()
        return dict(answer.json())

    def start(self, name: str = "retrain/retrain", **parameters: Any) -> str:
        """Start a run by the API; returns its id."""
        made = self.post(f"/deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def run(self, run: str) -> dict[str, Any]:
        return dict(self.api.get(f"/flow_runs/{run}").json())

    def runs(self, name: str = "retrain/retrain", *, due: bool = True) -> list[dict[str, Any]]:
        """The runs of a deployment, oldest first; those that its schedule has for later are left out if `due`."""
        body = {"flow_runs": {"deployment_id": {"any_": [self.deployment(name)["id"]]}}, "sort": "START_TIME_ASC"}
        found = self.post("/flow_runs/filter", body)
        return [each for each in found if not (due and each["auto_scheduled"] and each["state_type"] == "SCHEDULED")]

    def tasks(self, run: str) -> dict[str, str]:
        """The state's name of each task of a run that has ended, by the task's name.

        The server writes down the states of tasks a moment after that of their flow.
        """
        body = {"task_runs": {"flow_run_id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}

        def all_ended() -> list[dict[str, Any]] | None:
            found = self.post("/task_runs/filter", body)
            return found if all(each["state_type"] in DONE for each in found) else None

        return {each["name"].rpartition(" ")[0]: each["state_name"] for each in self.until(all_ended)}

    def artifacts(self, run: str) -> dict[str, str]:
        found = self.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {each["key"]: each["data"] for each in found}

    def ended(self, run: str) -> dict[str, Any]:
        """The run once it has ended."""
        return self.until(lambda: found if (found := self.run(run))["state_type"] in DONE else None)

    def training(self, run: str) -> int:
        """The number of the training child of a run once it has a whole checkpoint."""

        def child() -> int | None:
            stated = self.run(run)
            assert stated["state_type"] not in DONE, f"{stated['state']['message']}\n{self.logs()}"
            whole = list(self.folder.glob("store/.work/train/*/checkpoints/checkpoint-*/seal.json"))
            found = children(self.folder)
            return found[0] if whole and found else None

        return self.until(child)

    def until(self, look: Callable[[], Any]) -> Any:
        """What `look` finds, once it finds something."""
        return wait_until(look, every=0.3, failed=self._states)

    def _states(self) -> str:
        states = [(each["name"], each["state_name"], each["state"]["message"]) for each in self.runs()]
        return f"runs: {states}\n{self.logs()}"


def children(folder: Path) -> list[int]:
    """The training children that work below a folder, on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "tasks.training.loop" in words and any(word.startswith(f"{folder}/") for word in words):
            found.append(int(path.parent.name))
    return found


@contextmanager
def served(folder: Path, **how: Any) -> Iterator[Service]:
    service = Service(folder, **how)
    try:
        service.up()
        service.api = service.client(service.secret)
        yield service
    finally:
        service.down()
        service.api.close()
        shutil.rmtree(folder / "state" / "prefect", ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


EVENT = {
    "event": "dataset.refreshed",
    "resource": {"prefect.resource.id": "reground.dataset.small", "prefect.resource.name": "small"},
    "payload": {"digest": "0123456789abcdef"},
}


def event(**changes) -> dict:
    return EVENT | {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat()} | changes
