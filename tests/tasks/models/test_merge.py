"""Merging a weight at a time gives what PEFT gives with the model in memory."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tasks.engine.errors import UserError
from tasks.models import bundle, merge
from tasks.models.model import ModelConfig
from tests.tasks.tiny import toy_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return toy_base(tmp_path_factory.mktemp("merge") / "base")


def adapted(base, folder, **settings):
    """A bundle of random updates."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **settings)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    facts = {"key": "k", "base": bundle.Base(name="b"), "quantization": "nf4", "data": None, "refusal": {}}
    bundle.seal(folder, bundle.Manifest(**facts))
    return folder


KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 3}},
    "dora": {"use_dora": True},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_it_equals_what_peft_merges_in_memory(base, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(merge, "SHARD", 30_000)  # many shards
    folder = adapted(base, tmp_path / "adapter", **settings)
    manifest = merge.merge(folder, base, tmp_path / "out", ModelConfig())
    assert (manifest.kind, bundle.faults(tmp_path / "out")) == ("merged", [])
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "out").iterdir())
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = PeftModel.from_pretrained(whole, folder).merge_and_unload().state_dict()
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name].float(), weight, atol=2e-3, rtol=8e-3)  # bfloat16's 8 bits


def test_onto_quantized_weights_the_base_is_as_training_saw_it(base, tmp_path):
    folder = adapted(base, tmp_path / "adapter")
    for onto in ("full", "quantized"):
        merge.merge(folder, base, tmp_path / onto, ModelConfig(), onto)
    full, quantized = (
        AutoModelForCausalLM.from_pretrained(tmp_path / onto).state_dict() for onto in ("full", "quantized")
    )
    differ = {name for name, weight in full.items() if not torch.equal(weight, quantized[name])}
    assert differ == {name for name in full if name.endswith("_proj.weight")}


def test_an_update_that_fits_no_weight_is_refused(base, tmp_path):
    folder = shutil.copytree(adapted(base, tmp_path / "adapter"), tmp_path / "other")
    index = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(index | {"lora_bias": True}))
    bundle.seal(folder, bundle.read_manifest(folder))
    with pytest.raises(UserError, match="is no update"):
        merge.merge(folder, base, tmp_path / "out", ModelConfig())
