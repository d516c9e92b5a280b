"""Code that comes with a model runs only if a person named that very code; pickles never run."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.engine.errors import UserError
from tasks.models.model import ModelConfig, attach_adapter, load_base, load_tokenizer
from tasks.models.trust import code_digest, trusted
from tests.tasks.tiny import toy_base

CODE = """
from pathlib import Path
from transformers import Qwen2Config, Qwen2ForCausalLM

(Path(__file__).parent / "ran").touch()
Path({mark!r}).touch()

class OwnConfig(Qwen2Config):
    model_type = "own"

class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def ran(tmp_path):
    """A file that the model's code leaves when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def own(original, tmp_path, ran, monkeypatch):
    """A base model that is made by code of its own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = Path(shutil.copytree(original, tmp_path / "own"))
    (folder / "own.py").write_text(CODE.format(mark=str(ran)))
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": auto}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def plain(trust: str | None) -> ModelConfig:
    return ModelConfig(quantization="none", device="cpu", trust_remote_code=trust)


def test_a_models_own_code_does_not_run_and_the_refusal_tells_how_to_name_it(own, ran):
    with pytest.raises(UserError, match="its own Python code, which runs only if it is named") as refused:
        load_base(own, plain(None))
    assert "own.py" in refused.value.remedy and code_digest(own) in refused.value.remedy
    assert not ran.exists()
    load_tokenizer(own)
    assert not ran.exists()


def test_code_that_was_named_runs(own, ran):
    assert type(load_base(own, plain(code_digest(own)))).__name__ == "OwnModel"
    assert ran.exists()


def test_code_that_changed_after_it_was_named_does_not_run(own, ran):
    named = code_digest(own)
    with (own / "own.py").open("a") as file:
        file.write("# one line more\n")
    with pytest.raises(UserError, match="other code"):
        load_base(own, plain(named))
    assert not ran.exists()


def test_the_name_of_a_model_is_no_name_for_its_code(own, ran):
    for name in ("org/model", str(own), "true", ""):
        with pytest.raises(UserError, match="other code"):
            load_base(own, plain(name))
    assert not ran.exists()


def test_code_of_another_repository_does_not_run(own):
    config = json.loads((own / "config.json").read_text())
    config["auto_map"]["AutoModelForCausalLM"] = "evil/other--own.OwnModel"
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="another repository, evil/other--own.OwnModel"):
        load_base(own, plain(code_digest(own)))


def test_a_model_that_needs_no_code_is_loaded_without(original):
    assert not trusted(original, "0" * 64)


def test_the_digest_is_of_the_code_and_not_of_its_place(own, tmp_path):
    moved = shutil.copytree(own, tmp_path / "elsewhere")
    assert code_digest(moved) == code_digest(own)
    (moved / "config.json").write_text("{}")
    assert code_digest(moved) == code_digest(own)
    (moved / "own.py").rename(moved / "other.py")
    assert code_digest(moved) != code_digest(own)


def test_an_adapter_in_a_pickle_is_refused_unread(original, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match=r"adapter_model\.bin, whose pickle can run code"):
        attach_adapter(None, tmp_path)


def test_an_adapter_that_would_load_others_is_refused(tmp_path):
    (tmp_path / "adapter_model.safetensors").touch()
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "XLORA", "adapters": {"0": "evil/adapter"}}')
    with pytest.raises(UserError, match="'XLORA'"):
        attach_adapter(None, tmp_path)
