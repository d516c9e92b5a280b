"""What a run starts from, and what is said when it is not there."""

import pytest

from flows.config import BaseConfig, PromptSettings
from flows.sources import base_model, template, triplets
from tasks.engine.errors import Unreachable, UserError


def test_a_template_is_known_by_its_bytes_and_the_bases_own_is_the_bases(tmp_path):
    assert template(PromptSettings()) is None
    plain = template(PromptSettings(template="plain"))
    copy = tmp_path / "mine.jinja"
    copy.write_bytes(plain.path.read_bytes())
    assert template(PromptSettings(template=str(copy))).digest == plain.digest
    copy.write_text(copy.read_text() + " ")
    assert template(PromptSettings(template=str(copy))).digest != plain.digest


def test_an_unknown_template_names_those_there_are():
    with pytest.raises(UserError, match="no template 'mistrall'.*\n.*chat .*plain .*jinja"):
        template(PromptSettings(template="mistrall"))


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl"):
        triplets(str(tmp_path / "nowhere.jsonl"))


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "just-a-name"])
def test_a_missing_base_folder_is_named(name):
    with pytest.raises(UserError, match="there is no folder"):
        base_model(BaseConfig(model=name))


def test_a_folder_without_config_json_is_no_model(tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        base_model(BaseConfig(model=str(tmp_path)))


def test_a_hub_model_without_a_hub_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="cannot reach the hub.*\n.*connect once"):
        base_model(BaseConfig(model="no-such-org/no-such-model"))


def test_a_hub_model_at_a_commit_needs_no_hub():
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert base_model(BaseConfig(model="org/model", revision=commit)).digest == f"org/model@{commit}"
