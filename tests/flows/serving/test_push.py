"""A bundle is given on to a real OCI registry and a real MLflow registry; for the hub there is one of a few lines."""

import base64
import json
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flows.serving.push import Target
from tasks.engine.errors import UserError
from tasks.models.bundle import require_intact
from tests.flows.serving.test_serve import reground  # noqa: F401
from tests.flows.test_plan import flip
from tests.production.service import free_port
from tests.waiting import wait_until

REGISTRY = shutil.which("docker-registry")
NAMES = {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md", "MANIFEST.json"}


def listed(out: str) -> set[str]:
    return {line.split()[1] for line in out.splitlines() if line[:14].strip().replace(",", "").isdigit()}


@pytest.mark.parametrize("to", ["hf://team/answerer", "oci://127.0.0.1:1/team/answerer:v1", "mlflow://answerer"])
def test_a_dry_run_lists_files_and_target_and_sends_nothing(reground, to, monkeypatch):  # noqa: F811
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    code, out, _ = reground("push", "export", "--to", to, "--dry-run")
    assert code == 0 and listed(out) >= NAMES and f"would go to {to}" in out


@pytest.mark.parametrize("to", ["answerer", "hf://answerer", "oci://host/name", "ftp://a/b", "mlflow://"])
def test_what_is_no_target_is_told(to):
    with pytest.raises(UserError, match="hf://ORG/NAME"):
        Target.of(to)


def test_what_changed_or_cannot_be_sent_is_told_in_one_line(reground, project):  # noqa: F811
    code, _, err = reground("push", "export", "--to", "oci://127.0.0.1:1/team/answerer:v1")
    assert code == 2 and "does not take it" in err
    flip(project.artifact("export") / "adapter/prompt.json")
    code, _, err = reground("push", "export", "--to", "mlflow://answerer", "--dry-run")
    assert (code, "prompt.json (changed)" in err) == (2, True)


@pytest.mark.skipif(not REGISTRY, reason="needs a registry: docker-registry in Debian")
def test_an_oci_registry_gives_the_bundle_back(reground, tmp_path):  # noqa: F811
    port = free_port()
    disk = f"filesystem: {{rootdirectory: {tmp_path}/registry}}"
    (tmp_path / "config.yml").write_text(f"version: 0.1\nstorage: {{{disk}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n")
    server = subprocess.Popen([REGISTRY, "serve", tmp_path / "config.yml"], stderr=subprocess.DEVNULL)
    try:
        from oras.client import OrasClient

        place = f"127.0.0.1:{port}/team/answerer"

        def pushed() -> str:
            code, out, _ = reground("push", "export", "--to", f"oci://{place}:v1")
            return out.split()[-1] if code == 0 else ""

        digest = wait_until(pushed, server)
        assert digest.startswith(f"{place}@sha256:")
        for reference in (f"{place}:v1", digest):
            OrasClient(insecure=True).pull(reference, outdir=str(tmp_path / reference[-8:]))
            assert require_intact(tmp_path / reference[-8:])
    finally:
        server.terminate()
        server.wait()


def test_an_mlflow_registry_gives_the_bundle_back(reground, tmp_path, monkeypatch):  # noqa: F811
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'reground[mlflow]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    for version in ("1", "2"):
        code, out, _ = reground("push", "export", "--to", "mlflow://answerer")
        assert (code, out.split()[-1]) == (0, f"models:/answerer/{version}")
    folder = mlflow.artifacts.download_artifacts("models:/answerer/2", dst_path=str(tmp_path / "back"))
    assert require_intact(Path(folder))


class Hub(BaseHTTPRequestHandler):
    """What the hub's client asks for when it uploads a folder; no file of it goes the way of large ones (Xet)."""

    files: dict[str, bytes] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        here = f"http://127.0.0.1:{self.server.server_port}"
        if self.path == "/api/repos/create":
            self.reply({"url": f"{here}/team/answerer"})
        elif "/preupload/" in self.path:
            names = [each["path"] for each in json.loads(body)["files"]]
            self.reply({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"commitUrl": f"{here}/team/answerer/commit/1", "commitOid": "1" * 40, "success": True})
        else:
            self.reply({})

    def do_GET(self) -> None:
        self.reply({"id": "team/answerer", "sha": "0" * 40, "siblings": [], "private": True})

    def reply(self, what: object) -> None:
        content = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


def test_the_hub_gets_the_bundle(reground, tmp_path, monkeypatch):  # noqa: F811
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    code, out, err = reground("push", "export", "--to", "hf://team/answerer")
    server.shutdown()
    assert (code, "/team/answerer/commit/" in out) == (0, True), err
    for name, content in Hub.files.items():
        (tmp_path / name).write_bytes(content)
    assert require_intact(tmp_path)
