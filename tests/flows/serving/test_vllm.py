"""vLLM as the engine of answers: one server for base and adapters, asked by token ids, which ends with its time.

vLLM itself has no place in CI: here a program of a few lines answers as many tokens as the prompt's last one says. The
nightly test asks a real one, where there is one (`REGROUND_VLLM`).
"""

import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from flows.config import load
from flows.settings import vllm as installed
from tasks.answer import answer
from tasks.engine.errors import UserError
from tasks.engine.key import Request
from tasks.evaluation.answers import read_general_loss
from tasks.models import vllm
from tasks.models.model import ModelConfig
from tests.waiting import wait_until

WHOLE = ModelConfig(quantization="none", compute_dtype="float32", device="cpu")
PROGRAM = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

base, options = sys.argv[2], sys.argv[3:]
if "broken" in base:
    sys.exit("ValueError: this model has no head")
adapters = {{"base": ""}}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({{"data": [{{"id": name}} for name in adapters]}})

    def do_POST(self):
        assert self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/load_lora_adapter":
            adapters[asked["lora_name"]] = asked["lora_path"]
            return self.reply({{}})
        if "prompt_logprobs" in asked:
            told = [None, *({{str(token): {{"logprob": -0.5}}}} for token in asked["prompt"][1:])]
            return self.reply({{"choices": [{{"index": 0, "prompt_logprobs": told}}]}})
        begin, stop = 100 + 100 * list(adapters).index(asked["model"]), asked["stop_token_ids"][0]
        most, counts = asked["max_tokens"], [1 + len(prompt) % 9 for prompt in asked["prompt"]]
        given = [[*range(begin, begin + count), stop][:most] for count in counts]
        choices = [{{"index": at, "token_ids": tokens}} for at, tokens in enumerate(given)]
        self.reply({{"choices": choices[::-1]}})

    def reply(self, what):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

ThreadingHTTPServer(("127.0.0.1", int(options[options.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    """A vLLM in an environment of its own."""
    path = tmp_path / "environment/bin/vllm"
    path.parent.mkdir(parents=True)
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    about = tmp_path / "environment/lib/python3.12/site-packages/vllm-0.32.0.dist-info/METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
    monkeypatch.setenv("REGROUND_VLLM", str(path))
    yield path
    vllm.stop()


@pytest.fixture
def ask(project, made, tmp_path):
    """Have the evaluation's questions answered; returns the table and the folder."""

    def ask(name: str, adapter: bool, program: Path | None, **other):
        engine = {"engine": "vllm", "engine_version": "1", "program": str(program)} if program else {}
        config = project.config.answering.model_copy(update={**engine, "model": WHOLE, **other})
        out, work = tmp_path / name / "out", tmp_path / name / "work"
        out.mkdir(parents=True)
        work.mkdir()
        tuned = made.used["train"]["adapter"].local() if adapter else None
        rows, template = made.used["build"]["evaluation"].local(), project / "prompt.jinja"
        answer(config, rows=rows, base=project / "base", template=template, adapter=tuned, work=work, out=out)
        return pa.ipc.open_stream(str(out / "answers.arrow")).read_all(), out

    return ask


def test_one_server_answers_for_base_and_adapter_until_another_model_is_loaded(ask, program):
    base, folder = ask("base", False, program)
    (server,) = vllm._running
    tuned, _ = ask("tuned", True, program)
    assert vllm._running == [server] and server.process.poll() is None
    assert read_general_loss(folder) == 0.5
    assert base.column("id") == tuned.column("id") and base.column("prompt") == tuned.column("prompt")
    assert all(
        one != other for one, other in zip(*(t.column("answer").to_pylist() for t in (base, tuned)), strict=True)
    )
    lengths, cut = base.column("tokens").to_pylist(), base.column("truncated").to_pylist()
    assert max(lengths) == 8 and [length == 8 for length in lengths] == cut and len(set(lengths)) > 2
    ask("by transformers", True, None)
    assert not vllm._running and server.process.poll() is not None


def test_a_server_that_does_not_start_is_told_by_its_own_words(program, tmp_path):
    (tmp_path / "broken").mkdir()
    with pytest.raises(UserError, match="this model has no head"):
        vllm.server(program, tmp_path / "broken", WHOLE, None)
    assert not vllm._running


def test_a_server_ends_with_the_process_that_asks_however_that_ends(program, tmp_path):
    (tmp_path / "base").mkdir()
    code = (
        "import sys, time; from pathlib import Path; from tasks.models import vllm\n"
        "from tasks.models.model import ModelConfig\n"
        "model = ModelConfig(quantization='none', compute_dtype='float32', device='cpu')\n"
        "server, _ = vllm.server(Path(sys.argv[1]), Path(sys.argv[2]), model, None)\n"
        "print(server.process.pid, flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(program), str(tmp_path / "base")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        server = psutil.Process(int(process.stdout.readline()))
        assert server.is_running() and server.status() != psutil.STATUS_ZOMBIE
        process.kill()
    assert wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_its_version_is_in_the_key_and_its_place_is_not(program, made):
    config = load(None, ["answer.engine=vllm", "answer.model.quantization=none"]).answering
    assert (config.engine, config.engine_version, config.program) == ("vllm", "0.32.0", str(program))
    inputs = {name: made.used["build"]["evaluation"] for name in ("rows", "base")}
    keys = {
        Request(answer, config.model_copy(update=other), inputs, "answer").key
        for other in ({}, {"program": "/elsewhere"}, {"engine_version": "0.33.0"}, {"engine": "transformers"})
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("engine", "quantization", "there", "chosen"),
    [
        ("auto", "none", True, "vllm"),
        ("auto", "nf4", True, "transformers"),
        ("auto", "none", False, "transformers"),
        ("transformers", "none", True, "transformers"),
        ("vllm", "nf4", True, "quantization to none"),
        ("vllm", "none", False, "it is not here"),
    ],
)
def test_which_engine_answers(program, monkeypatch, tmp_path, engine, quantization, there, chosen):
    if not there:
        monkeypatch.delenv("REGROUND_VLLM")
        monkeypatch.setattr("shutil.which", lambda *where, **path: None)
    words = [f"answer.engine={engine}", f"answer.model.quantization={quantization}"]
    if chosen in ("vllm", "transformers"):
        assert load(None, words).answering.engine == chosen
    else:
        with pytest.raises(UserError, match=chosen):
            load(None, words).answering  # noqa: B018


def test_parity_compares_what_was_trained_with_what_serves(project, program):
    project.set("answer.engine=vllm", "answer.model.quantization=none", "parity.enabled=true")
    steps = {each.label: each.request for each in project.plan().steps}
    assert "answer shipped" not in steps and steps["gate"].inputs["trained_scores"]
    trained = steps["answer trained"].config
    assert (trained.engine, trained.program, trained.model) == ("transformers", None, project.config.train.model)
    assert {steps[f"answer {who}"].config.engine for who in ("base", "tuned")} == {"vllm"}


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(not installed(), reason="needs vLLM: REGROUND_VLLM=ITS/ENVIRONMENT/bin/vllm")
def test_a_real_one_answers_as_transformers_does(ask, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    for adapter in (False, True):
        (ours, folder), (theirs, other) = (
            ask(f"{program}{adapter}", adapter, program) for program in (None, Path(installed()))
        )
        pairs = zip(ours.column("answer").to_pylist(), theirs.column("answer").to_pylist(), strict=True)
        assert sum(one != another for one, another in pairs) <= 1, "but where two tokens are all but equally likely"
        assert abs(read_general_loss(folder) - read_general_loss(other)) < 1e-4
