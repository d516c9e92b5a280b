"""`reground doctor` on this very machine: what it says, how it ends, and that no check ends another."""

import json
import os
import socket
import stat
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from flows.cli.app import main
from flows.config import TINY, load
from flows.doctor import examine, machine, training
from flows.doctor.findings import Finding, ok
from flows.orchestration.service import health
from tasks.engine.errors import UserError

CONFIG = load(TINY)
ROOT = TINY.parents[2]
ROW = '{"query": "q", "context": ["c"], "answer": "a"}\n'


def of(*settings: str):
    return load(TINY, settings)


def only(found) -> Finding:
    (finding,) = found
    return finding


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Run it as the shell would, without a server; exit code, JSON and what it says."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    def run(*words: str) -> tuple[int, Any, str]:
        monkeypatch.setattr("flows.orchestration.service.state.use_running", lambda: False)  # before Prefect, it wants
        monkeypatch.setattr(sys, "argv", ["reground", "doctor", *words])
        none = {PREFECT_API_URL: None, PREFECT_API_AUTH_STRING: None}
        with temporary_settings(none), pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, json.loads(out) if "--json" in words else None, out + err

    return run


def test_the_sample_can_run_here_and_each_topic_is_looked_at(doctor, tmp_path):
    code, reported, _ = doctor("--json", "-s", f"store={tmp_path}")
    assert code == 0, [each for each in reported if each["mark"] == "bad"]
    assert {each["topic"] for each in reported} == set(examine.CHECKS)
    assert all(each["remedy"] for each in reported if each["mark"] == "bad")
    marks = {each["what"]: each["mark"] for each in reported}
    assert marks["4 bits"] == marks["base model"] == marks["data.train"] == marks["store"] == "ok"
    assert marks["server"] == "note"  # none configured, and none needed


def test_what_is_missing_is_told_with_a_remedy_and_ends_with_1(doctor, tmp_path):
    settings = [f"store={tmp_path}", "data.train=nowhere.jsonl", "base.model=./nowhere", "prompt.template=none"]
    code, _, said = doctor(*[word for setting in settings for word in ("-s", setting)])
    said = " ".join(said.split())
    assert code == 1
    for word in (
        "✗ data.train nowhere.jsonl: no such file or folder",
        "→ give a file of rows",
        "there is no folder './nowhere'",
    ):
        assert word in said
    assert "✗ base model" in said and "there is no template 'none'" in said
    assert "✓ store" in said and "3 to fix" in said


def test_a_mistake_in_the_config_exits_with_2(doctor):
    code, _, said = doctor("-s", "train.lora.rank=8")
    assert code == 2 and "no such setting" in said


def test_a_check_that_crashes_is_a_finding_and_ends_no_other():
    def crashes(config):
        yield ok("first", "fine")
        raise ZeroDivisionError("division by zero\nand more")

    def refuses(config):
        raise UserError("no model", "get one")

    found = list(examine.examine(CONFIG, {"a": crashes, "b": refuses, "c": lambda _: iter([ok("last", "fine")])}))
    assert [(topic, each.mark, each.value) for topic, each in found] == [
        ("a", "ok", "fine"),
        ("a", "bad", "ZeroDivisionError: division by zero"),
        ("b", "bad", "no model"),
        ("c", "ok", "fine"),
    ]
    assert found[2][1].remedy == "get one"


# Libraries


def test_a_library_that_is_too_new_is_named(monkeypatch):
    real = machine.installed
    monkeypatch.setattr(machine, "installed", lambda name: "6.0.0" if name == "transformers" else real(name))
    found = {each.what: each for each in machine.libraries(CONFIG)}
    assert found["transformers"].mark == "bad" and "6.0.0, and <6,>=5.20 is wanted" in found["transformers"].value
    assert found["transformers"].remedy == "pip install 'transformers<6,>=5.20'"
    assert (
        found["constraints.txt"].mark == "note" and "transformers 6.0.0 (tested: 5." in found["constraints.txt"].value
    )


def test_a_library_that_is_missing_is_named_and_one_that_only_this_config_wants(monkeypatch):
    real = machine.installed
    monkeypatch.setattr(machine, "installed", lambda name: None if name in ("peft", "wandb") else real(name))
    assert {each.what for each in machine.libraries(CONFIG) if each.mark == "bad"} == {"peft"}
    asked = of("train.report_to=[wandb]", "train.model.attention=flash_attention_2")
    found = {each.what: each.value for each in machine.libraries(asked) if each.mark == "bad"}
    assert found.keys() == {"peft", "wandb", "flash-attn"}
    assert "train.report_to: wandb asks for it" in found["wandb"]


# GPU


@pytest.mark.skipif(bool(machine.cards()), reason="there is a GPU")
def test_a_config_for_a_gpu_fails_where_there_is_none():
    assert {each.what: each.mark for each in machine.gpu(CONFIG)} == {"GPU": "note", "4 bits": "ok"}
    found = {each.what: each for each in machine.gpu(of("train.model.device=cuda"))}
    assert found["GPU"].mark == "bad" and "train.model.device is cuda" in found["GPU"].value


def test_bfloat16_on_a_card_without_it_is_told(monkeypatch):
    old = machine.Card("Tesla T4", 15 << 30, 14 << 30, (7, 5), bfloat16=False)
    finding = only(machine.bfloat16(of("train.model.compute_dtype=bfloat16"), [old]))
    assert finding.mark == "bad" and "Tesla T4 lacks it" in finding.value
    assert not list(machine.bfloat16(CONFIG, [old]))


# Memory


def mistral(folder):
    """The shapes of a Mistral 7B; its weights are a hole in the file."""
    hidden, inner, layers, words, keys = 4096, 14336, 32, 32768, 1024
    shapes = {"model.embed_tokens.weight": [words, hidden], "lm_head.weight": [words, hidden]}
    for at in range(layers):
        block = f"model.layers.{at}"
        shapes |= {f"{block}.self_attn.{name}_proj.weight": [hidden, hidden] for name in "qo"}
        shapes |= {f"{block}.self_attn.{name}_proj.weight": [keys, hidden] for name in "kv"}
        shapes |= {f"{block}.mlp.{name}_proj.weight": [inner, hidden] for name in ("gate", "up")}
        shapes[f"{block}.mlp.down_proj.weight"] = [hidden, inner]
    header, at = {}, 0
    for name, (rows, columns) in shapes.items():
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [at, at := at + 2 * rows * columns]}
    reported = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(reported).to_bytes(8, "little") + reported)
        file.truncate(8 + len(reported) + at)
    about = {"hidden_size": hidden, "num_hidden_layers": layers, "vocab_size": words, "intermediate_size": inner}
    about |= {"num_attention_heads": 32, "num_key_value_heads": keys * 32 // hidden}
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_7b_model_in_4_bits_is_predicted_at_what_qlora_is_known_to_take(tmp_path, monkeypatch):
    rtx = machine.Card("RTX 4090", 24 << 30, 23 << 30, (8, 9), bfloat16=True)
    monkeypatch.setattr(training, "cards", lambda: [rtx])
    folder = mistral(tmp_path)
    settings = [f"base.model={folder}", "build.max_tokens=1024", "train.batch_size=2"]
    assert "7,247." in {each.what: each.value for each in training.base_and_template(of(*settings))}["base model"]
    forms = training.forms(of(*settings), training.card("", 24 << 30))
    need = next(form for form in forms if form.micro_batch == 2 and form.checkpointing)
    assert 4.2 < need.weights / 2**30 < 4.5  # 3.4 of 4-bit weights, .98 of embeddings and head in float32
    assert need.adapter_optimizer == 41_943_040 * 16  # weights at r=16; each with a gradient and two moments
    assert 5 < need.total / 2**30 < 10
    assert only(training.memory(of(*settings))).mark == "ok"
    large = only(training.memory(of(*settings, "train.batch_size=32")))
    assert large.mark == "note" and "predicted" in large.value and "train.fit to auto" in large.remedy
    monkeypatch.setattr(training, "cards", lambda: [rtx._replace(free=8 << 30)])
    assert only(training.memory(of(*settings, "train.model.quantization=none"))).mark == "bad"


def test_the_table_of_what_fits_is_told_for_cards_that_are_not_here(tmp_path):
    settings = of(f"base.model={mistral(tmp_path)}", "build.max_tokens=1024", "train.accumulation=4")
    forms = {size: training.forms(settings, training.card("", size << 30)) for size in (4, 12, 80)}
    assert {form.micro_batch * form.accumulation for form in forms[80]} == {16}
    assert [form.total for form in forms[4]] == [form.total for form in forms[80]]
    chosen = {size: [form.checkpointing for form in found if form.chosen] for size, found in forms.items()}
    assert chosen == {4: [], 12: [True], 80: [False]}


def test_doctor_fit_shows_what_auto_would_take(doctor, tmp_path):
    words = ["--memory", "12GB", "-s", f"base.model={mistral(tmp_path)}"]
    code, _, said = doctor(*words, "-s", "build.max_tokens=1024")
    assert code == 0, said
    assert "train.fit: auto takes 4 × 2, checkpointing on" in said
    assert [row["chosen"] for row in doctor(*words, "--json")[1]["rows"]].count(True) == 1


def test_a_card_whose_size_cannot_be_read_is_refused():
    from flows.cli.doctor import parse_size

    assert parse_size("24GB") == parse_size("24 GiB") == parse_size("24") == 24 << 30
    with pytest.raises(UserError, match="--memory is 'much'"):
        parse_size("much")


# Base model


def test_pickled_cut_off_and_tokenizerless_models_are_told(tmp_path):
    def reported() -> str:
        finding = next(
            each for each in training.base_and_template(of(f"base.model={tmp_path}")) if each.what == "base model"
        )
        assert finding.mark == "bad" and finding.remedy
        return finding.value

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert "no *.safetensors, but pytorch_model.bin, which could run code" in reported()
    (tmp_path / "model.safetensors").write_bytes(b"\x40")
    assert "not a safetensors file, or is cut off" in reported()
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(3))
    assert "is cut off" in reported()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "no tokenizer.json" in reported()


# Data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ROW, "1 file, 0.0 MiB; the first row is a triplet row"),
        ("", "the file is empty"),
        ("\n\n", "only blank lines"),
        ("query and answer\n", "rows.jsonl:1: not JSON"),
        ('\n{"query": "q", "context": [], "answer": "a"}\n', "rows.jsonl:2: context: an empty list"),
    ],
)
def test_data_is_read_as_far_as_its_first_row(tmp_path, content, says):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    finding = next(training.data(of(f"data.train={path}")))
    assert says in finding.value
    assert (finding.mark == "ok") == (content == ROW)
    assert finding.mark == "ok" or finding.remedy


# Store


def test_a_store_is_written_to_and_left_as_it_was(tmp_path):
    assert only(machine.store(of(f"store={tmp_path}"))).mark == "ok"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "can be made" in only(machine.store(of(f"store={tmp_path}/new/deep"))).value
    assert not (tmp_path / "new").exists()


def test_a_store_below_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    finding = only(machine.store(of(f"store={tmp_path}/file/store")))
    assert finding.mark == "bad" and "file is not a folder" in finding.value


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_written_is_told(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert only(machine.store(of(f"store={tmp_path}"))).mark == "bad"
        assert only(machine.store(of(f"store={tmp_path}/new"))).mark == "bad"
    finally:
        tmp_path.chmod(stat.S_IRWXU)


# Prefect


@pytest.fixture
def api():
    """Have an API configured; returns what the checks say of it."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    def asked(url: str, auth: str | None = None) -> list[Finding]:
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth}):
            return [finding for _, finding in examine.examine(CONFIG, {"Prefect": health.prefect})]

    return asked


def test_a_server_that_cannot_be_reached_is_told_without_its_password(api):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (finding,) = api(f"http://me:pa55word@127.0.0.1:{port}/api")
    assert finding.mark == "bad" and "cannot be reached" in finding.value and "reground up" in finding.remedy
    assert "pa55word" not in str(finding)


def test_a_server_on_another_machine_without_tls_and_password_is_told(api):
    found = {each.what: each.mark for each in api("http://192.0.2.1:1/api")}  # TEST-NET-1: nobody answers
    assert found == {"transport": "note", "authentication": "note", "server": "bad"}


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        version = self.path.endswith("/version") and self.headers.get("Authorization")
        body = b'"3.1.0"' if version else b"[]" if self.headers.get("Authorization") else b"{}"
        self.send_response(200 if self.headers.get("Authorization") else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_a_server_that_wants_a_password_and_one_that_is_older_are_told(api):
    web = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=web.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{web.server_port}/api"
        (finding,) = api(url)
        assert finding.mark == "bad" and "answers 401" in finding.value and "PREFECT_API_AUTH_STRING" in finding.remedy
        finding = api(url, "admin:right")[0]
        assert finding.mark == "bad" and "version 3.1.0; here 3." in finding.value
        assert finding.remedy == "upgrade the server before its clients"
    finally:
        web.shutdown()


def test_pools_workers_deployments_and_limits_of_a_real_server_are_told(prefect_server):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    def reported() -> dict[str, Finding]:
        return {each.what: each for each in health.prefect(CONFIG)}

    before = reported()
    assert before["server"].mark == "ok"
    assert before["pool reground-gpu"].value == "does not exist" and "reground up" in before["pool reground-gpu"].remedy
    assert "retrain/retrain" in before["deployments"].value
    with get_client(sync_client=True) as client:
        for kind in ("docker", "kubernetes", "process"):  # the server checks the templates, too
            template = json.loads((ROOT / f"deployments/pools/{kind}.json").read_text())
            asked = WorkPoolCreate(name="reground-gpu", type=kind, concurrency_limit=1, base_job_template=template)
            client.create_work_pool(asked)
            if kind != "process":
                client.delete_work_pool("reground-gpu")
        assert reported()["pool reground-gpu"].value == "process, limit 1, 0 workers online"
        client.request("POST", "/work_pools/reground-gpu/workers/heartbeat", json={"name": "host"})
        try:
            after = reported()["pool reground-gpu"]
            assert (after.mark, after.value) == ("ok", "process, limit 1, 1 worker online")
        finally:
            client.delete_work_pool("reground-gpu")
