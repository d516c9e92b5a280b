"""A bundle is checked, and served by the engine that is there; one of which a byte changed goes nowhere."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flows.cli import app as cli
from flows.serving import engines
from tasks.engine.errors import UserError
from tasks.models.bundle import Obstacle
from tests.flows.test_plan import flip


@pytest.fixture
def reground(project, monkeypatch, capsys):
    """Run a command on the project's store; returns exit code, stdout and stderr."""

    def run(*words: str):
        monkeypatch.setattr("sys.argv", ["reground", *words, "-s", f"store={project.store}"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def served(project):
    (adapter,) = project.config.open_store().all("export")
    return engines.Served.of(adapter, project / "base")


def asked(**other) -> engines.Asked:
    return engines.Asked(**{"host": "127.0.0.1", "port": 8000, "swap": False, "more": (), **other})


def test_a_bundle_is_as_it_was_written(reground, project, tmp_path):
    assert reground("verify", "export")[0] == 0
    (folder,) = project.store.glob("export/*/adapter")
    assert json.loads(reground("verify", str(folder), "--json")[1]) == []


def test_vllm_is_started_with_what_the_bundle_asks_for(served, project):
    how = engines.launch(served, "vllm", asked(more=("--dtype", "float32")))
    words = how.command
    assert words[1:3] == ("serve", str(project / "base"))
    given = dict(zip(words[3:], words[4:], strict=False))
    assert given["--lora-modules"] == f"{served.name}={served.bundle}"
    assert (given["--max-lora-rank"], given["--host"]) == ("16", "127.0.0.1")
    assert given["--tokenizer"] == given["--generation-config"] == str(served.bundle)
    assert words[-2:] == ("--dtype", "float32")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in how.environment
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in engines.launch(served, "vllm", asked(swap=True)).environment


def test_print_shows_the_command_and_a_compose_file(reground, project, served):
    code, out, _ = reground("serve", "--adapter", "export", "--print", "--base", str(project / "base"), "--port", "81")
    command, _, file = out.partition("\n# compose.yaml\n")
    assert code == 0
    assert f"{served.name}={served.bundle}" in shlex.split(command)
    service = yaml.safe_load(file)["services"]["vllm"]
    assert service["ports"] == ["127.0.0.1:81:8000"]
    assert f"{served.bundle}:/bundles/{served.name}:ro" in service["volumes"]
    assert f"{served.name}=/bundles/{served.name}" in service["command"]


def test_what_vllm_refuses_is_refused_before_it_starts(served):
    manifest = served.manifest.model_copy(update={"obstacles": (Obstacle(kind="dora", value="True"),)})
    with pytest.raises(UserError, match="dora"):
        engines.vllm_options(replace(served, manifest=manifest))


def test_another_base_model_is_refused(project):
    (adapter,) = project.config.open_store().all("export")
    flip(project / "base/model.safetensors")
    with pytest.raises(UserError, match="is not the base model"):
        engines.Served.of(adapter, project / "base")


def test_without_vllm_transformers_serves_and_without_either_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(engines.shutil, "which", lambda *where, **path: None)
    assert engines.installed() == "transformers"
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="no server is installed"):
        engines.installed()


def test_transformers_is_given_the_adapter_with_the_tokens_that_end_its_answers(served, monkeypatch, tmp_path):
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = Path(engines.launch(served, "transformers", asked()).command[2])
    model = AutoModelForCausalLM.from_pretrained(folder)
    wanted = json.loads((served.bundle / "generation_config.json").read_text())
    assert model.generation_config.eos_token_id == wanted["eos_token_id"]
    assert any("lora_A" in name for name, _ in model.named_parameters())
