"""Servers are brought up to date by promotion and rollback, and clients get one adapter or the other, never neither.

vLLM itself has no place in CI: here a server of a few lines has its four requests, and answers what the store holds.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from flows.promotion import decisions
from flows.promotion.decisions import PromotionConfig
from flows.promotion.promotions import Promotions
from flows.serving.swap import ServingConfig, served
from tasks.engine.inputs import files_below
from tasks.evaluation.answers import answered
from tasks.models.bundle import read_manifest, seal
from tests.flows.conftest import ROOT
from tests.flows.promotion.promoting import adapter, number
from tests.production.service import free_port
from tests.tasks.engine.storage.published import publish
from tests.waiting import wait_until

GATEWAY = ROOT / "deployments/gateway"
NGINX = shutil.which("nginx") if Path("/usr/lib/nginx/modules/ngx_http_js_module.so").exists() else None


class Replica(ThreadingHTTPServer):
    """A server with adapters. `answers` says what it answers to a question by whom; else an adapter's own name."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.adapters = answers, {"base": ""}
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": name} for name in self.server.adapters]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        adapters = self.server.adapters
        if self.path == "/v1/load_lora_adapter":
            adapters[asked["lora_name"]] = asked["lora_path"]
            self.reply(200, {})
        elif self.path == "/v1/unload_lora_adapter":
            self.reply(200 if adapters.pop(asked["lora_name"], None) else 404, {})
        elif asked["model"] not in adapters:
            self.reply(404, {"error": f"no model {asked['model']}"})
        else:
            time.sleep(0.02)
            content = self.server.answers.get(asked["messages"][-1]["content"], asked["model"])
            self.reply(200, {"choices": [{"message": {"content": content}}]})

    def reply(self, status: int, what: Any) -> None:
        content = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def store(project):
    project.own_store()
    return project.config.open_store()


@pytest.fixture
def said(project, made) -> dict[str, dict[str, str]]:
    """What base and tuned model answered, by what the user's turn says."""
    from tasks.prompts.turns import Turns

    turns, rows = Turns(project.config.prompt.told), made.used["build"]["evaluation"].local()
    return {
        by: {
            turns.user(row.asked): answer.text
            for row, answer in answered(rows, made.used[f"answer {by}"].local() / "answers.arrow")
        }
        for by in ("base", "tuned")
    }


@pytest.fixture
def replicas(said) -> Iterator[list[Replica]]:
    made = [Replica(dict(said["tuned"])) for _ in range(2)]
    yield made
    for each in made:
        each.shutdown()
        each.server_close()


def serving(replicas: list[Replica], alias: Path) -> ServingConfig:
    return ServingConfig(replicas=tuple(each.url for each in replicas), alias=str(alias))


def another(store, first, folder: Path):
    """A bundle with other weights, which no gate judged."""
    shutil.copytree(first.folder / "adapter", folder)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    seal(folder, read_manifest(folder))
    files = {f"adapter/{name}": path.read_bytes() for name, path in files_below(folder).items()}
    return publish(store, number("another"), files, "export")


def promoted(store, which: str | None, config: ServingConfig) -> decisions.AdapterOutcome:
    done = decisions.promote(store, which, because="to try it", force=True)
    return decisions.followed(store, done, None, config)


def test_a_promotion_reaches_every_server_and_a_rollback_takes_it_back(store, made, replicas, tmp_path):
    config = serving(replicas, tmp_path / "served.json")
    first = made.used["export"]
    assert promoted(store, first.key, config).swapped.adapter == first.key[:16]
    assert all(Path(each.adapters[first.key[:16]], "adapter_config.json").is_file() for each in replicas)
    assert promoted(store, first.key, config).swapped is None, "nothing to do"
    Promotions(store).promote(adapter(store, "second"), why="beside the servers")
    assert not served(store, config).agrees
    back = decisions.followed(store, decisions.rollback(store, because="no"), None, config)
    assert back.champion == first.about and served(store, config).agrees


def test_what_answers_as_the_base_is_not_served(store, made, replicas, said, tmp_path):
    config = serving(replicas, tmp_path / "served.json")
    first = made.used["export"]
    replicas[1].answers = dict(said["base"])  # as vLLM serves an adapter whose layers it does not know
    done = promoted(store, first.key, config)
    assert "answered otherwise than the gate saw" in done.unserved and not Path(config.alias).exists()
    assert served(store, config).champion == first.key[:16] and not served(store, config).agrees  # none came before it
    replicas[1].answers = dict(said["tuned"])
    assert decisions.followed(store, done, None, config).swapped.adapter == first.key[:16]


def test_a_server_that_is_away_undoes_a_promotion_and_holds_up_no_rollback(store, made, replicas, tmp_path):
    alias = tmp_path / "served.json"
    config = serving(replicas, alias)
    first = made.used["export"]
    promoted(store, first.key, config)
    replicas[1].shutdown()
    replicas[1].server_close()
    second = another(store, first, tmp_path / "second")
    done = promoted(store, second.key, config)
    assert (done.outcome, done.champion) == ("rolled back", first.about)
    assert replicas[1].url in done.entry.why and json.loads(alias.read_text())["adapter"] == first.key[:16]
    assert [bool(each.error) for each in served(store, config).replicas] == [False, True]
    alias.write_text('{"model": "answerer", "adapter": "0123456789abcdef", "since": ""}')
    third = adapter(store, "third")
    Promotions(store).promote(third, why="beside the servers")
    back = decisions.followed(store, decisions.rollback(store, third.about, because="no"), None, config)
    assert [each.url for each in back.swapped.failed] == [replicas[1].url]
    assert json.loads(alias.read_text())["adapter"] == first.key[:16]


@pytest.mark.skipif(not NGINX, reason="needs nginx with its JavaScript module: libnginx-mod-http-js")
def test_behind_the_gateway_no_request_fails_and_none_gets_the_old_one_after_the_flip(replicas, tmp_path):
    alias, port = tmp_path / "served.json", free_port()
    for each in replicas:
        each.adapters |= {"old": "", "new": ""}
    conf = (GATEWAY / "nginx.conf").read_text()
    for there, here in {
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "127.0.0.1:8001": replicas[0].url.removeprefix("http://"),
        "127.0.0.1:8002": replicas[1].url.removeprefix("http://"),
        "/var/lib/reground/served.json": str(alias),
        "/etc/reground": str(GATEWAY),
        "/tmp/reground-gateway.pid": str(tmp_path / "pid"),
    }.items():
        assert there in conf
        conf = conf.replace(there, here)
    (tmp_path / "nginx.conf").write_text(f"daemon off;\n{'user root;' * (os.getuid() == 0)}\n{conf}")
    alias.write_text('{"model": "answerer", "adapter": "old"}')
    gateway = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", "nginx.conf"])
    asked = {"model": "answerer", "messages": [{"role": "user", "content": "é?"}]}
    found, stop = [], Event()

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not stop.is_set():
                begun = time.monotonic()
                answer = client.post("/v1/chat/completions", json=asked)
                found.append((begun, answer.status_code, answer.json()["choices"][0]["message"]["content"]))

    def up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(up, gateway)
        threads = [Thread(target=ask) for _ in range(4)]
        for each in threads:
            each.start()
        wait_until(lambda: len(found) > 20)
        (tmp_path / "new").write_text('{"model": "answerer", "adapter": "new"}')
        (tmp_path / "new").replace(alias)
        flipped = time.monotonic()
        wait_until(lambda: sum(text == "new" for _, _, text in found) > 20)
        stop.set()
        for each in threads:
            each.join()
        assert httpx.post(f"http://127.0.0.1:{port}/v1/load_lora_adapter", json={}).status_code == 403
    finally:
        gateway.terminate()
        gateway.wait()
    assert {status for _, status, _ in found} == {200}
    assert {text for _, _, text in found} == {"old", "new"}
    assert {text for begun, _, text in found if begun > flipped} == {"new"}


def test_servers_without_the_gateways_file_are_refused():
    with pytest.raises(ValueError, match="serving.replicas need serving.alias"):
        PromotionConfig.model_validate({"serving": {"replicas": ["http://127.0.0.1:8001"]}})
