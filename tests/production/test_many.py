"""Three projects on one service, many runs of them interleaved: each keeps its own champion, whatever is killed."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from tests.production.service import DONE, Service, children, event

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
DATABASE = "sqlite"

RUNS = int(os.environ.get("REGROUND_RUNS", 30))
DEPLOYED = {"small": "retrain", "south": "south", "north": "north"}  # the name of each project's deployments
RANKS = {"small": 16, "south": 8, "north": 4}  # by which each project's adapter is known


@pytest.fixture(scope="module")
def three(service) -> Service:
    """The service of `small`, and `south` and `north` added to it; data of their own, one store."""
    for name in ("south", "north"):
        tree = service.tree(seed=RANKS[name], lora={"r": RANKS[name]}) | {"name": name}
        for side in ("train", "evaluation"):
            shutil.copy(service.folder / f"{side}.jsonl", service.folder / f"{side}-{name}.jsonl")
            tree["data"][side] = str(service.folder / f"{side}-{name}.jsonl")
        (service.folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        added = service.reground("up", "--add", str(service.folder / f"{name}.yaml"), *service.words)
        assert added.returncode == 0, added.stdout + added.stderr
    return service


def refresh(service: Service, name: str, number: int) -> None:
    """One more row in a project's training data, and the event that says so."""
    path = service.folder / ("train.jsonl" if name == "small" else f"train-{name}.jsonl")
    row = json.loads(path.read_text().splitlines()[number])
    with path.open("a") as file:
        file.write(
            json.dumps(row | {"id": f"more-{number}", "query": f"Once more, number {number}: {row['query']}"}) + "\n"
        )
    resource = {"prefect.resource.id": f"reground.dataset.{name}", "prefect.resource.name": name}
    service.post("/events", [event(resource=resource, payload={"digest": f"{number:016x}"})])


def all_runs(service: Service) -> dict[str, list[dict]]:
    return {name: service.runs(f"retrain/{place}") for name, place in DEPLOYED.items()}


def champions(service: Service) -> dict[str, int | None]:
    """The rank of each project's champion, as it was trained."""
    told = service.reground("projects", "--config", str(service.config), "--json")
    found = {}
    for each in json.loads(told.stdout):
        adapter = each["champion"] and service.folder / "store" / each["champion"] / "adapter/adapter_config.json"
        found[each["project"]] = json.loads(adapter.read_text())["r"] if adapter else None
    return found


def test_runs_by_form_and_by_event_are_each_of_their_own_project(three):
    began, most = {name: len(runs) for name, runs in all_runs(three).items()}, 0
    for number in range(RUNS):
        name = list(DEPLOYED)[number % 3]
        if number // 3 % 2:
            refresh(three, name, number)
        else:
            three.start(f"retrain/{DEPLOYED[name]}", config={"train.seed": number})

    def all_ended() -> dict[str, list[dict]] | None:
        nonlocal most
        most = max(most, len(children(three.folder)))
        found = {name: runs[began[name] :] for name, runs in all_runs(three).items()}
        runs = [run for each in found.values() for run in each]
        return found if len(runs) >= RUNS and all(run["state_type"] in DONE for run in runs) else None

    ended = three.until(all_ended)
    assert {name: len(runs) for name, runs in ended.items()} == dict.fromkeys(DEPLOYED, RUNS // 3)
    assert {run["state_type"] for runs in ended.values() for run in runs} == {"COMPLETED"}, three.logs()
    assert most == 1, "trainings at once"
    for name, place in DEPLOYED.items():
        ask = {"adapter": "challenger", "force": True, "because": "to tell them apart"}
        run = three.ended(three.start(f"promote/{place}", request=ask))
        assert run["state_name"] == "Promoted", run["state"]["message"]
        assert champions(three)[name] == RANKS[name]
    assert champions(three) == RANKS


def test_whatever_is_killed_no_project_gets_anothers_champion_and_nothing_is_orphaned(three):
    chance = random.Random(os.environ.get("REGROUND_SEED", "0"))
    before = champions(three)
    for number in range(max(3, RUNS // 5)):
        started = [
            three.start(f"retrain/{place}", config={"train.seed": 1000 + number, "train.max_steps": 6})
            for place in DEPLOYED.values()
        ]
        three.until(lambda: children(three.folder))
        what = chance.choice(["server", "worker of reground-gpu", "training", "flow"])
        child = next(iter(children(three.folder)), None)
        if what in three.processes():
            os.kill(three.processes()[what], signal.SIGKILL)
        elif child:
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(child if what == "training" else parent, signal.SIGKILL)
        three.up()
        states = {three.ended(run)["state_type"] for run in started}
        assert states <= {"COMPLETED", "FAILED", "CRASHED"}
        assert champions(three) == before, what
    for place in DEPLOYED.values():
        assert three.ended(three.start(f"retrain/{place}"))["state_type"] == "COMPLETED"
    assert champions(three) == before
    assert not children(three.folder)
