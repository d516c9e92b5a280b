"""A store or a hub that is away for a while is tried again, and nothing else; real servers, a network that is cut."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.engine import Config, step
from tasks.engine.errors import Unreachable, UserError, is_transient
from tasks.engine.inputs import Files, download
from tasks.engine.storage.store import Store
from tests.outage import Outage
from tests.toy_flow import in_flow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
does: list = []  # what the step does when it runs, each time the next


@step()
def carry(config: Config, *, rows: list[Path], out: Path) -> None:
    (out / "rows.txt").write_bytes(rows[0].read_bytes())
    does.pop(0)()


@pytest.fixture
def soon(monkeypatch):
    """Tries again in tenths of a second."""
    from flows.orchestration import task_runner

    monkeypatch.setattr(task_runner, "RETRY_AFTER", [0.1, 0.1, 0.1])


@pytest.fixture
def outage(s3, monkeypatch):
    import os

    network = Outage(urlsplit(os.environ["AWS_ENDPOINT_URL"]).port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
    yield network
    network.cut()


@pytest.fixture
def store(s3, outage, tmp_path):
    return Store(f"{s3}/{tmp_path.name}", cache=tmp_path / "cache", lease_seconds=1)


def run_counts(flow_run: str) -> dict[str, tuple[str, int]]:
    """Each task run of a flow run: its final state, and how often it ran."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
    return {each.name.split()[0]: (each.state.name, each.run_count) for each in found}


def test_a_bucket_that_is_away_when_a_step_publishes_is_tried_again(
    prefect_server, outage, store, rows, soon, monkeypatch
):
    """The step runs a second time: what it had made, no one could keep."""
    from flows.orchestration import task_runner

    is_transient = task_runner._is_transient

    def and_mend(*told) -> bool:
        outage.mend()
        return is_transient(*told)

    monkeypatch.setattr(task_runner, "_is_transient", and_mend)
    does[:] = [outage.cut, lambda: None]
    flow_run = in_flow(lambda: task_runner.TaskRunner(store)(carry, Config(), rows=Files((rows,))))
    assert run_counts(flow_run)["carry"] == ("Completed", 2)
    assert does == []
    assert store.match("carry").record.label == "carry"


def test_it_is_given_up_in_the_end_and_nothing_waits_a_second_time(prefect_server, outage, store, rows, soon):
    from flows.orchestration.task_runner import TaskRunner, retry_transient

    does[:] = [outage.cut] * 4
    tried = []

    def job() -> None:
        tried.append("walked")
        TaskRunner(store)(carry, Config(), rows=Files((rows,)))

    with pytest.raises(Unreachable, match="cannot .* at s3://.*\n.*check the network") as error:
        in_flow(lambda: retry_transient(job))
    assert error.value.waited
    assert tried == ["walked"]


def test_between_the_steps_a_bucket_is_waited_for_as_well(prefect_server, outage, store, soon):
    from flows.orchestration.task_runner import retry_transient

    store.objects.write("x", b"y")
    outage.cut()
    found = []

    def read() -> None:
        found.append(None)
        if len(found) == 2:
            outage.mend()
        found.append(store.objects.read("x"))

    in_flow(lambda: retry_transient(read))
    assert found == [None, None, b"y"]


@pytest.mark.parametrize("error", [UserError("bad rows", "mend them"), MemoryError(), FloatingPointError("nan")])
def test_what_time_does_not_mend_is_not_tried_again(prefect_server, rows, tmp_path, soon, error):
    from flows.orchestration.task_runner import TaskRunner

    def fail() -> None:
        raise error

    does[:] = [fail]
    with pytest.raises(type(error)):
        in_flow(lambda: TaskRunner(Store(tmp_path / "store"))(carry, Config(), rows=Files((rows,))))
    assert does == []


class Hub(BaseHTTPRequestHandler):
    """Models of the hub: one file, after as many answers of 503 as `busy` says."""

    busy = 0
    asked = 0

    def do_GET(self) -> None:  # noqa: N802
        kind = type(self)
        kind.asked += 1
        if kind.busy > 0:
            kind.busy -= 1
            self.send_error(503)
        elif self.path.startswith("/api/models/org/tiny/revision/main"):
            self._json({"id": "org/tiny", "sha": COMMIT, "siblings": []})
        elif self.path.startswith("/api/models/org/tiny/tree/"):
            self._json([{"type": "file", "path": "config.json", "size": 2, "oid": "a" * 40}])
        elif self.path.endswith("config.json"):
            self._json({}, ETag='"a"', **{"X-Repo-Commit": COMMIT})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def _json(self, told, **headers: str) -> None:
        content = json.dumps(told).encode()
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of this test's own, with an empty cache."""
    import huggingface_hub.constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHub", (Hub,), {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", at)
    files = f"{at}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server.RequestHandlerClass
    server.shutdown()
    server.server_close()


def test_a_hub_that_answers_503_twice_is_asked_a_third_time(prefect_server, hub, soon):
    from flows.config import BaseConfig
    from flows.orchestration.task_runner import retry_transient
    from flows.sources import base_model

    hub.busy = 2
    found = []
    in_flow(lambda: retry_transient(lambda: found.append(base_model(BaseConfig(model="org/tiny")))))
    assert [each.digest for each in found] == [f"org/tiny@{COMMIT}"]
    assert hub.asked == 3
    assert [each.name for each in found[0].local().iterdir()] == ["config.json"]


def test_a_hub_that_refuses_is_not_away(hub):
    with pytest.raises(UserError, match="cannot download org/other@01234567.*\n.*hf auth login") as error:
        download("org/other", COMMIT, None)
    assert not isinstance(error.value, Unreachable)


@pytest.mark.slow  # its client tries for 23 s by itself
def test_a_hub_that_is_away_while_files_come_is_unreachable(hub, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="cannot download org/other@01234567"):
        download("org/other", COMMIT, None)


def test_a_choice_to_be_offline_is_not_waited_out():
    from huggingface_hub.errors import OfflineModeIsEnabled

    assert is_transient(ConnectionError())
    assert is_transient(TimeoutError())
    assert not is_transient(OfflineModeIsEnabled())
    assert not is_transient(ValueError())
