"""A person at the UI that ships as default: the run form, a field changed, the run watched, its artifacts opened.

Screenshots are kept in the folder that REGROUND_SCREENSHOTS names, else in pytest's.
"""

import os
import re
from pathlib import Path

import pytest

from tests.browser.conftest import chromium  # noqa: F401
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow
DATABASE = "sqlite"


@pytest.fixture
def shots(request, tmp_path) -> Path:
    folder = Path(os.environ.get("REGROUND_SCREENSHOTS") or tmp_path) / request.node.callspec.id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(chromium, service):  # noqa: F811
    page = chromium.new_page(viewport={"width": 1400, "height": 1000}, base_url=f"http://127.0.0.1:{service.port}")
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


def test_a_run_started_by_the_form_is_watched_to_its_end_and_its_artifacts_open(page, service, shots):
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
    (run,) = service.until(service.runs)
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
    (loss,) = service.post("/artifacts/filter", {"artifacts": {"key": {"any_": ["train-loss"]}}})
    page.goto(f"/artifacts/artifact/{loss['id']}")  # its card comes and goes while the page loads
    picture = page.get_by_alt_text("loss by step")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 0
    page.screenshot(path=shots / "7-loss.png", full_page=True)


def test_what_the_form_does_not_allow_is_refused_at_submit(page, service, shots):
    before = len(service.runs())
    page.goto(f"/deployments/deployment/{service.deployment('retrain/retrain')['id']}/run")
    fill(page, "R \\(Optional\\)", "0")
    assert submit(page, "0").status == 409
    page.get_by_text("less than or equal to the minimum of 0").first.wait_for()  # the form says why
    page.screenshot(path=shots / "refused.png")
    path = f"/deployments/{service.deployment('retrain/retrain')['id']}/create_flow_run"
    for name, value in (("r", 0), ("rank", 8)):
        tree = service.tree(lora={name: value})
        answer = service.api.post(path, json={"parameters": {"config": tree}})
        assert 400 <= answer.status_code < 500 and name in answer.text
    assert len(service.runs()) == before


@pytest.mark.nightly
def test_of_two_runs_on_one_place_the_second_waits_and_takes_what_the_first_made(service):
    config = service.tree(seed=11)
    first, second = (service.start(config=config) for _ in range(2))
    done = service.ended(first), service.ended(second)
    assert [each["state_name"] for each in done] == ["Undecided", "Undecided"]
    early, late = sorted(done, key=lambda each: each["start_time"])
    assert late["start_time"] >= early["end_time"]
    assert service.tasks(early["id"])["train"] == "Completed"
    assert set(service.tasks(late["id"]).values()) == {"Cached"}
