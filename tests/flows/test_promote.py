"""The Prefect flows promote and rollback, on a real server: deployments, runs in processes, a person's word."""

import json
import os
import signal
import subprocess
import sys

import pytest

from flows.config import load
from flows.promotion.candidates import roles
from flows.promotion.decisions import PromotionConfig
from flows.promotion.promotions import Promotions
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import adapter, gate, outcome
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow

SERVE = """
from prefect import serve
from flows.promote import promote, rollback

serve(promote.to_deployment("ask"), rollback.to_deployment("now"), query_seconds=1)
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", project="tiny")


@pytest.fixture(scope="module")
def served(prefect_server):
    """A process that serves the deployments promote/ask and rollback/now."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    environment = {
        **os.environ,
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_HOME": str(PREFECT_HOME.value()),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    process = subprocess.Popen([sys.executable, "-c", SERVE], env=environment, start_new_session=True)
    with get_client(sync_client=True) as client:

        def there() -> bool:
            try:
                client.read_deployment_by_name("rollback/now")
                return True
            except ObjectNotFound:
                assert process.poll() is None
                return False

        wait_until(there)
        yield client
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(PATIENCE)


def state(client, run_id):
    return client.read_flow_run(run_id).state


def in_state(client, run_id, name: str):
    """Wait until the run's state has this name; returns the state."""

    def is_so() -> bool:
        now = state(client, run_id)
        assert now.name == name or not now.is_final(), f"{now.name}: {now.message}"
        return now.name == name

    wait_until(is_so)
    return state(client, run_id)


def start(client, deployment: str, **request) -> str:
    found = client.read_deployment_by_name(deployment)
    return client.create_flow_run_from_deployment(found.id, parameters={"request": request}).id


def answer(client, run_id, **given) -> None:
    client.resume_flow_run(run_id, run_input=given)


def test_a_person_approves_in_a_form_and_the_log_says_who_and_why_then_rolls_back(served, store):
    """Two runs of the flow wait at once: one is approved, the other refused; neither needs a process meanwhile."""
    from flows.promote import apply_and_ask

    first, second = outcome(store, "first"), outcome(store, "second")
    config = PromotionConfig(mode="approve", deployment="promote/ask")
    assert apply_and_ask(store, config, first).waits_for == "promote/ask"
    apply_and_ask(store, config, first)
    (asked,) = runs_about(served, first.adapter.key)  # asked once, however often it settles
    other = start(served, "promote/ask", store=store.url, adapter=second.adapter.about, approval=True)
    forms = {run: form_of(served, run) for run in (asked, other)}
    schema, described = forms[asked]
    assert {"approve", "reason", "name", "adapter"} <= set(schema["properties"])
    assert first.adapter.about in described and "token F1 (answerable) rises by .20" in described

    whole = f"export/{first.adapter.key}"
    answer(served, asked, approve=True, reason="read forty answers", name="Anna", adapter=whole)
    ended = in_state(served, asked, "Promoted")
    assert ended.message == f"{first.adapter.about} is promoted: read forty answers"
    entry = Promotions(store).entries()[-1]
    assert (entry.action, entry.why, entry.who) == ("promote", "read forty answers", "Anna")
    assert entry.by["flow_run"] == str(asked)
    assert not entry.by_hand

    answer(served, other, approve=False, reason="too curt", name="Ben", adapter=f"export/{second.adapter.key}")
    assert in_state(served, other, "Refused").message == f"{second.adapter.about} is refused by Ben: too curt"
    assert Promotions(store).entries()[-1].action == "refuse"
    assert roles(store)["champion"].key == first.adapter.key

    third = adapter(store, "third")
    Promotions(store).promote(third, why="better", gate=gate(store, third, first.adapter))
    back = start(served, "rollback/now", store=store.url, because="it invents pump names")
    message = f"{third.about} is rolled back; {first.adapter.about} is in service: it invents pump names"
    assert in_state(served, back, "Rolled back").message == message
    shown = artifact(served, back, "versions")
    assert f"| {third.about} | rolled back |" in shown
    assert f"| {first.adapter.about} | champion |" in shown


def test_where_the_first_asking_failed_a_run_that_finds_all_fresh_asks_and_only_once(served, store):
    from flows.cli.retrain import _settled

    first = outcome(store, "asked late")

    def settled(deployment: str) -> str:
        return _settled(load(None, ["promotion.mode=approve", f"promotion.deployment={deployment}"]), store, first)

    with pytest.raises(UserError, match="has no promote/gone\n.*deploy it"):
        settled("promote/gone")
    assert Promotions(store).state.challenger.key == first.adapter.key
    for _ in range(2):
        assert "Waits for approval in a run of promote/ask" in settled("promote/ask")
    (asked,) = runs_about(served, first.adapter.key)
    assert first.adapter.about in form_of(served, asked)[1]


def form_of(client, run_id) -> tuple[dict, str]:
    """The form that a suspended run shows: its schema and its description; they are saved just after the state."""
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.input import keyset_from_paused_state

    keys = keyset_from_paused_state(in_state(client, run_id, "Suspended"))
    found = {}

    def there() -> bool:
        try:
            found.update({name: client.read_flow_run_input(run_id, keys[name]) for name in ("schema", "description")})
            return True
        except PrefectHTTPStatusError:
            return False

    wait_until(there)
    return json.loads(found["schema"]), json.loads(found["description"])


def runs_about(client, key: str) -> list[str]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    asking = DeploymentFilter(name=DeploymentFilterName(any_=["ask"]))
    found = client.read_flow_runs(deployment_filter=asking)
    return [run.id for run in found if key in str(run.parameters)]


def artifact(client, run_id, key: str) -> str:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    (found,) = client.read_artifacts(artifact_filter=wanted)
    return found.data


def test_a_flow_in_this_process_tells_its_outcome_or_what_to_do(prefect_server, store):
    from pydantic import ValidationError

    from flows.promote import Promote, Rollback, promote, rollback

    first = adapter(store, "first")
    Promotions(store).challenge(first, gate=gate(store, first))
    place = {"store": store.url}
    assert promote(Promote(**place), return_state=True).message.startswith(f"{first.about} is promoted: ")
    failed = rollback(Rollback(**place, because="no"), return_state=True)
    assert failed.is_failed()
    assert "no adapter was in service that could come back" in failed.message
    with pytest.raises(ValidationError, match="because"):
        Rollback(**place, because="")


def test_a_rollback_flow_that_runs_again_does_not_go_a_second_step_down(prefect_server, store):
    """As after a retry, or when its worker was killed between the entry and the end."""
    from prefect import flow

    @flow(retries=1)
    def fails_once() -> int:
        number = Promotions(store).rollback(why="no").number
        if not tried.append(number) and len(tried) == 1:
            raise ConnectionError("the entry is written, and the run fails")
        return number

    tried: list[int] = []
    for name in ("first", "second", "third"):
        Promotions(store).promote(adapter(store, name), why="by hand")
    assert fails_once() == 4
    assert tried == [4, 4]
    assert roles(store)["champion"].key == adapter(store, "second").key
