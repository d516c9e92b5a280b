"""What a retraining costs more under a server and a worker than its steps called directly; by part."""

import json
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.harness import measure, verdict
from tests.production.service import ROOT, Service, served

ROUNDS = 3
TARGET = 25.0  # seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as service:
        rounds = [_round(service, number) for number in range(ROUNDS)]
    shown = Table(title="a tiny retraining, seconds (medians)", title_justify="left", box=None, padding=(0, 2, 0, 0))
    shown.add_column("")
    shown.add_column("s", justify="right")
    parts = {part: statistics.median(each[part] for each in rounds) for part in rounds[0]}
    for part, seconds in parts.items():
        shown.add_row(part, f"{seconds:.1f}")
    Console(width=100).print(shown)
    verdict(
        "overhead",
        ratio=parts["more"],
        target=TARGET,
        unit="seconds more",
        parts={part: round(seconds, 2) for part, seconds in parts.items()},
    )


def _round(service: Service, seed: int) -> dict[str, float]:
    """One run of each, of a training that neither has done before: by its seed."""
    folder = service.folder / f"direct {seed}"
    folder.mkdir()
    tree = service.tree(seed=seed) | {"store": str(service.folder / f"store {seed}")}
    (folder / "config.json").write_text(json.dumps(tree))  # JSON is YAML
    start = time.monotonic()
    run = service.ended(service.start(config=tree), 600)
    under = time.monotonic() - start
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    tasks = service.post("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}})
    records = Path(tree["store"]).glob("*/*/record.json")
    steps = sum(json.loads(record.read_bytes())["measured"]["seconds"] for record in records)
    in_tasks = sum(each["total_run_time"] for each in tasks)
    waited = _seconds(run["start_time"]) - _seconds(run["created"])
    measured = measure([sys.executable, "-m", "tests.bench._direct", folder / "config.json", folder], folder=ROOT)
    direct = json.loads(measured.out.splitlines()[-1])
    return {
        "under server and worker": under,
        "the steps called directly, in a process": measured.seconds,
        "more": under - measured.seconds,
        "worker start: from asked to running": waited,
        "store: from a task's start to its step's, and back": in_tasks - steps,
        "API and flow: between the tasks": run["total_run_time"] - in_tasks,
        "steps, under server and worker": steps,
        "steps, called directly": sum(direct.values()),
    }


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
