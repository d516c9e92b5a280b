"""What starts a run besides a person: an event by curl, `reground refresh`, a burst of events, a schedule."""

import json
import subprocess
import time

import pytest

from tests.production.service import event

pytestmark = pytest.mark.slow
DATABASE = "postgresql"

QUIET = 25  # seconds in which an event that starts something has started it: 10 of debouncing, 5 of the server's round


def emit(service, **changes) -> None:
    """As the shell-only example of deployments/README.md does."""
    to = [f"http://127.0.0.1:{service.port}/api/events", "--header", "Content-Type: application/json"]
    subprocess.run(
        ["curl", "--fail", "--retry", "5", "--silent", *to, "--data", json.dumps([event(**changes)])], check=True
    )


def completed(service, run) -> dict:
    ended = service.ended(run["id"])
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    return ended


def cached(service, run) -> set[str]:
    return {name for name, state in service.tasks(run["id"]).items() if state == "Cached"}


@pytest.fixture(scope="module")
def trained(service):
    """A service whose data was trained on once, by a run that an event of curl's started."""
    emit(service)
    (first,) = service.until(service.runs)
    completed(service, first)
    assert not cached(service, first)
    return service


def test_an_event_by_curl_starts_one_run_and_the_artifacts_tell_of_it(trained):
    (only,) = trained.runs()
    shown = trained.artifacts(only["id"])
    assert "0123456789abcdef" in json.dumps(
        trained.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [only["id"]]}}})
    )
    assert {"comparison", "steps", "lineage", "versions", "train", "report"} <= shown.keys()
    assert "mermaid" in shown["lineage"]


def test_refresh_after_an_appended_row_starts_one_run_of_what_changed(trained):
    before = len(trained.runs())
    first = trained.reground("refresh", str(trained.config))
    assert first.returncode == 0 and "emitted" in first.stdout, first.stdout + first.stderr
    trained.until(lambda: len(trained.runs()) > before)
    completed(trained, trained.runs()[-1])  # of the data as it is: nothing to do
    rows = (trained.folder / "train.jsonl").read_text().splitlines(keepends=True)
    row = json.loads(rows[0]) | {"document": "appended"}
    row["context"] = [f"Sheet T-999. {passage}" for passage in row["context"]]
    (trained.folder / "train.jsonl").write_text("".join(rows) + json.dumps(row) + "\n")
    done = trained.reground("refresh", str(trained.config), "--json")
    assert json.loads(done.stdout)["changed"] == ["train"], done.stdout + done.stderr
    again = trained.reground("refresh", str(trained.config))
    assert again.returncode == 0 and "no event" in again.stdout
    trained.until(lambda: len(trained.runs()) > before + 1)
    time.sleep(QUIET)
    assert len(trained.runs()) == before + 2
    run = trained.runs()[-1]
    completed(trained, run)
    assert {"validate evaluation", "answer base", "score base"} <= cached(trained, run)
    assert not {"validate", "build", "train"} & cached(trained, run)


def test_ten_events_in_five_seconds_are_at_most_two_runs_and_rerun_nothing(trained):
    before = len(trained.runs())
    for _ in range(10):
        emit(trained)
        time.sleep(0.5)
    trained.until(lambda: len(trained.runs()) > before)
    time.sleep(QUIET)
    new = trained.runs()[before:]
    assert 1 <= len(new) <= 2
    for run in new:
        completed(trained, run)
        assert cached(trained, run) == trained.tasks(run["id"]).keys() != set()


def test_a_malformed_event_starts_nothing_and_alerts(trained, alerts):
    before = len(trained.runs())
    emit(trained, payload={})
    trained.until(lambda: any("could not act" in each["subject"] for each in alerts))
    emit(trained, resource={"prefect.resource.id": "dataset.small"})
    trained.until(lambda: any("starts nothing" in each["subject"] for each in alerts))
    assert len(trained.runs()) == before


def test_a_schedule_fires_and_where_nothing_changed_all_is_cached(trained):
    before = len(trained.runs())
    schedules = f"/deployments/{trained.deployment('retrain/retrain')['id']}/schedules"
    (made,) = trained.post(schedules, [{"schedule": {"interval": 20}, "active": True}])
    try:
        trained.until(lambda: len(trained.runs()) > before)
    finally:
        trained.api.delete(f"{schedules}/{made['id']}").raise_for_status()
    run = trained.runs()[before]
    ended = completed(trained, run)
    assert ended["auto_scheduled"]
    assert cached(trained, run) == trained.tasks(run["id"]).keys() != set()
