"""What starts a run: an event by curl, `reground refresh`, a burst of events, a schedule, a person at the UI's form.

The UI is the one that ships as default. Screenshots are kept in the folder that REGROUND_SCREENSHOTS names, else in
pytest's.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.browser.conftest import chromium  # noqa: F401
from tests.production.service import event
from tests.waiting import PATIENCE

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


# A person


@pytest.fixture
def shots(request, tmp_path) -> Path:
    folder = Path(os.environ.get("REGROUND_SCREENSHOTS") or tmp_path) / request.node.callspec.id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(chromium, trained):  # noqa: F811
    page = chromium.new_page(viewport={"width": 1400, "height": 1000}, base_url=f"http://127.0.0.1:{trained.port}")
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    page.close()


def fill(page, label: str, value: str) -> None:
    """Into the field of the run form that this label is of, once the form has its defaults."""
    page.get_by_text("Rank of the update matrices").first.wait_for()
    page.wait_for_load_state("networkidle")
    field = page.locator(".schema-form-property").filter(has_text=re.compile(rf"^{label}")).last
    field.scroll_into_view_if_needed()
    field.locator("input, textarea").first.fill(value)


def submit(page, value: str):
    """Submit the form; returns the server's answer to a run with this value of r.

    A server on SQLite answers 503 to one of two who write at the same moment: the form stays, and one submits it again.
    """

    def ours(response) -> bool:
        return "/create_flow_run" in response.url and f'"r":{value},' in response.request.post_data

    for _ in range(5):
        with page.expect_response(ours) as found:
            page.get_by_role("button", name="Submit").click()
        if found.value.status != 503:
            break
    return found.value


def test_a_run_started_by_the_form_is_watched_to_its_end_and_its_artifacts_open(page, trained, shots):
    before = len(trained.runs())
    page.goto("/deployments")
    page.get_by_role("link", name="retrain", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.get_by_text("Rank of the update matrices").first.wait_for()
    form = page.locator("body").inner_text()
    assert "Triplets to train on." in form and "Peak learning rate." in form
    fill(page, "R \\(Optional\\)", "4")
    page.screenshot(path=shots / "1-form.png")
    assert submit(page, "4").status == 201
    trained.until(lambda: len(trained.runs()) > before)
    run = trained.runs()[before]
    assert run["parameters"]["config"]["train"]["lora"]["r"] == 4
    page.goto(f"/runs/flow-run/{run['id']}")
    page.get_by_text("Beginning flow run").first.wait_for()
    page.screenshot(path=shots / "2-running.png")
    page.get_by_text("Undecided", exact=True).first.wait_for()
    page.screenshot(path=shots / "3-completed.png")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("comparison", exact=True).first.wait_for()
    page.screenshot(path=shots / "4-artifacts.png")
    page.get_by_text("comparison", exact=True).first.click()
    page.get_by_role("heading", name="Base against tuned").wait_for()
    assert "Faithfulness" in page.locator("body").inner_text()
    page.screenshot(path=shots / "5-comparison.png", full_page=True)
    page.goto(f"/runs/flow-run/{run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("lineage", exact=True).first.click()
    page.get_by_text("└── ").first.wait_for()
    page.screenshot(path=shots / "6-lineage.png", full_page=True)
    wanted = {"key": {"any_": ["train-loss"]}, "flow_run_id": {"any_": [run["id"]]}}
    (loss,) = trained.post("/artifacts/filter", {"artifacts": wanted})
    page.goto(f"/artifacts/artifact/{loss['id']}")  # its card comes and goes while the page loads
    picture = page.get_by_alt_text("loss by step")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 0
    page.screenshot(path=shots / "7-loss.png", full_page=True)


def test_what_the_form_does_not_allow_is_refused_at_submit(page, trained, shots):
    before = len(trained.runs())
    page.goto(f"/deployments/deployment/{trained.deployment('retrain/retrain')['id']}/run")
    fill(page, "R \\(Optional\\)", "0")
    assert submit(page, "0").status == 409
    page.get_by_text("less than or equal to the minimum of 0").first.wait_for()  # the form says why
    page.screenshot(path=shots / "refused.png")
    path = f"/deployments/{trained.deployment('retrain/retrain')['id']}/create_flow_run"
    for name, value in (("r", 0), ("rank", 8)):
        tree = trained.tree(lora={name: value})
        answer = trained.api.post(path, json={"parameters": {"config": tree}})
        assert 400 <= answer.status_code < 500 and name in answer.text
    assert len(trained.runs()) == before


@pytest.mark.nightly
def test_of_two_runs_on_one_place_the_second_waits_and_takes_what_the_first_made(trained):
    config = trained.tree(seed=11)
    first, second = (trained.start(config=config) for _ in range(2))
    done = trained.ended(first), trained.ended(second)
    assert [each["state_name"] for each in done] == ["Undecided", "Undecided"]
    early, late = sorted(done, key=lambda each: each["start_time"])
    assert late["start_time"] >= early["end_time"]
    assert trained.tasks(early["id"])["train"] == "Completed"
    assert set(trained.tasks(late["id"]).values()) == {"Cached"}
