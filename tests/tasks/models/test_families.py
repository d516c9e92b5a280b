"""Each family of models, tiny and random: trained here, it computes what plain transformers and PEFT compute.

The loss of a packed batch, of its rows one by one, and of the saved adapter on a base loaded without us are the same
within 1e-4. Nothing here knows a family by name: what a family does not bear is found by the self-check.
"""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engine.errors import UserError
from tasks.models.composition import composition_of
from tasks.models.model import ModelConfig, load_base
from tasks.training.outputs import save_result
from tests.tasks.tiny import inputs_in
from tests.tasks.training.jobs import WHOLE, job_of, recipe, trainer_of

SMALL = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}
MLA = {
    "head_dim": 8,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 24,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 48,
    "num_experts_per_tok": 2,
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2}
SLIDING = {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
# The model type, what its config adds, and what the self-check turns off for it.
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "Llama 3": ("llama", {}, ""),
    "Qwen 2.5": ("qwen2", {}, ""),
    "Qwen 3": ("qwen3", {}, ""),
    "Mistral": ("mistral", {"sliding_window": None}, ""),
    "Ministral": ("ministral", SLIDING, ""),
    "Phi-4": ("phi3", {}, ""),
    "SmolLM 3": ("smollm3", {}, ""),
    "Granite": ("granite", {"logits_scaling": 4.0}, ""),
    "OLMo 2": ("olmo2", {}, ""),
    "OLMo 3": ("olmo3", SLIDING, ""),
    "EXAONE 4": ("exaone4", SLIDING, ""),
    "GLM 4": ("glm4", {}, ""),
    "Cohere 2": ("cohere2", SLIDING, ""),
    "Gemma 2": ("gemma2", SLIDING, ""),
    "Gemma 3, text": ("gemma3_text", SLIDING, ""),
    "Gemma 4, text": ("gemma4_text", SLIDING, ""),
    "gpt-oss": ("gpt_oss", {**SLIDING, **EXPERTS}, "packing"),
    "DeepSeek V3": ("deepseek_v3", MLA, ""),
    "Qwen 3 MoE": ("qwen3_moe", EXPERTS, ""),
    "Mixtral": ("mixtral", {**EXPERTS, "sliding_window": None}, ""),
    "OLMoE": ("olmoe", EXPERTS, ""),
    "Qwen 3 Next": ("qwen3_next", {**EXPERTS, **LINEAR, "shared_expert_intermediate_size": 48}, "packing"),
    "Qwen 3.5, text": ("qwen3_5_text", LINEAR, "packing"),
    "Granite 4": ("granitemoehybrid", {**EXPERTS, **MAMBA, "layer_types": ["mamba", "attention"]}, "packing"),
    "LFM 2": ("lfm2", {"layer_types": ["conv", "full_attention"], "block_ff_dim": 96}, "packing"),
    "Falcon H1": ("falcon_h1", {**MAMBA, "mamba_d_ssm": 128}, "packing"),
    "GPT-2": ("gpt2", {}, ""),
    "Bloom": ("bloom", {}, "packing"),
    "GPT-NeoX": ("gpt_neox", {}, ""),
    "StarCoder 2": ("starcoder2", {"sliding_window": None}, ""),
    "Mamba": ("mamba", {}, "packing"),
    "Nemotron": ("nemotron", {}, "by_row attention"),
    "ERNIE 4.5": ("ernie4_5", {}, ""),
    "Hunyuan": ("hunyuan_v1_dense", {}, ""),
    "Seed-OSS": ("seed_oss", {}, ""),
    "Gemma 3": (
        "gemma3",
        {"text_config": {**SMALL, **SLIDING, "model_type": "gemma3_text"}, "vision_config": VISION},
        "",
    ),
    "Mistral Small 3.1": (
        "mistral3",
        {
            "text_config": {**SMALL, "model_type": "mistral"},
            "vision_config": {**VISION, "model_type": "pixtral", "head_dim": 16},
        },
        "",
    ),
    "Qwen 3 VL": (
        "qwen3_vl",
        {
            "text_config": {**SMALL, "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2]}},
            "vision_config": {
                "hidden_size": 32,
                "depth": 1,
                "num_heads": 2,
                "intermediate_size": 32,
                "out_hidden_size": 64,
                "deepstack_visual_indexes": [0],
            },
        },
        "",
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Two that wait for each other on a busy machine take many times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=4)


def base_of(folder: Path, kind: str, more: dict[str, Any], toy: Path) -> Path:
    from transformers import AutoConfig

    from tasks.models.model import auto_class

    shutil.copytree(toy, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    sizes = more if "text_config" in more else {**SMALL, **more}
    config = AutoConfig.for_model(kind, **copy.deepcopy(sizes))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    torch.manual_seed(0)
    model = auto_class(folder).from_config(config)
    for weight in model.parameters():  # a model that has learned something is not near zero
        if weight.ndim > 1:
            weight.data.mul_(2)
    model.save_pretrained(folder)
    return folder


def plain_loss(job: Any, batch: dict[str, Any]) -> float:
    """Of the rows one by one, by transformers and PEFT."""
    import peft

    from tasks.models.model import auto_class

    model = auto_class(job.base).from_pretrained(str(job.base), dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, str(job.out / "adapter")).eval()
    total = count = 0
    lengths = batch["cu_seq_lens_q"].diff().tolist()
    for ids, labels in zip(batch["input_ids"][0].split(lengths), batch["labels"][0].split(lengths), strict=True):
        logits = model(input_ids=ids[None]).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum").item()
        count += int((labels[1:] != -100).sum())
    return total / count


# Dense, windows, experts with sinks, latent attention, linear attention, with a picture's part: one of each kind.
QUICK = {"Llama 3", "Gemma 3, text", "gpt-oss", "DeepSeek V3", "Qwen 3.5, text", "Mistral Small 3.1"}


@pytest.mark.parametrize(
    "family",
    [each if each in QUICK else pytest.param(each, marks=[pytest.mark.slow, pytest.mark.nightly]) for each in FAMILIES],
)
def test_a_family_trains_as_plain_transformers_computes_it(family, inputs, tmp_path):
    kind, more, off = FAMILIES[family]
    base = base_of(tmp_path / "base", kind, more, inputs["base"])
    job = job_of(recipe(**WHOLE, max_steps=2), inputs | {"base": base}, tmp_path)
    trainer = trainer_of(job)
    said = job.metrics.read_text()
    trainer.train()
    save_result(job, trainer, examples=4)
    trainer.model.eval()
    batch = trainer.data_collator([trainer.eval_dataset[0], trainer.eval_dataset[1]])
    with torch.no_grad():
        packed = trainer.compute_loss(trainer.model, dict(batch)).item()
        rows = [trainer.compute_loss(trainer.model, dict(each)).item() for each in one_by_one(trainer, batch)]
        plain = plain_loss(job, batch)
    scored = [int((each["labels"] != -100).sum()) for each in one_by_one(trainer, batch)]
    by_row = sum(loss * count for loss, count in zip(rows, scored, strict=True)) / sum(scored)
    assert (off in said) if off else ("self-check" not in said)
    assert packed == pytest.approx(plain, abs=1e-4)
    assert by_row == pytest.approx(plain, abs=1e-4)


def test_experts_are_counted_named_and_adapted_where_asked(inputs, tmp_path):
    """In 4 bits and bfloat16: experts stay in two bytes a weight."""
    base = base_of(tmp_path / "base", "qwen3_moe", EXPERTS, inputs["base"])
    made_of = composition_of(base)
    assert (made_of.kinds, made_of.experts) == (("experts",), 2 * 4 * 3 * 48 * 64)
    assert made_of.linear == 2 * 2 * (64 * 64 + 64 * 32)
    held = {"model": {"compute_dtype": "bfloat16"}}
    job = job_of(recipe(max_steps=1, **held), inputs | {"base": base}, tmp_path / "frozen")
    trainer_of(job).train()
    said = job.metrics.read_text()
    assert "of the weights are experts, in torch.bfloat16: not quantized, frozen" in said
    assert "self-check" not in said
    lora = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
    job = job_of(recipe(lora, max_steps=1, **WHOLE), inputs | {"base": base}, tmp_path / "adapted")
    trainer = trainer_of(job)
    assert any("experts" in name for name, weight in trainer.model.named_parameters() if weight.requires_grad)
    job = job_of(recipe({"target_parameters": ["experts.up"]}, **WHOLE), inputs | {"base": base}, tmp_path / "wrong")
    with pytest.raises(UserError, match="target_parameters names 'experts.up'"):
        trainer_of(job)


def test_dora_on_outputs_of_zeros_is_refused_by_name(inputs, tmp_path):
    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(inputs["base"], tmp_path / "base"))
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.self_attn.v_proj.weight"][3:5] = 0
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    job = job_of(recipe({"use_dora": True}, **WHOLE), inputs | {"base": base}, tmp_path)
    with pytest.raises(UserError, match=r"2 outputs of model.layers.1.self_attn.v_proj have only zeros"):
        trainer_of(job)


def test_a_model_that_is_no_decoder_is_refused_in_a_line(inputs, tmp_path):
    base = Path(shutil.copytree(inputs["base"], tmp_path / "base"))
    (base / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="no model that answers in text") as refused:
        load_base(base, ModelConfig(quantization="none", device="cpu"))
    assert refused.value.remedy == "use an instruct model, a causal language model"


@pytest.mark.parametrize(
    ("method", "remedy"),
    [("fp8", "model.quantization to none"), ("mxfp4", "model.quantization to none"), ("gptq", "in 16 bits")],
)
def test_weights_that_come_quantized_are_not_quantized_twice(method, remedy, inputs, tmp_path):
    base = Path(shutil.copytree(inputs["base"], tmp_path / "base"))
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method}}))
    with pytest.raises(UserError, match=method) as refused:
        load_base(base, ModelConfig(device="cpu"))
    assert remedy in refused.value.remedy


def test_weights_that_come_in_fp8_are_trained_in_the_compute_dtype(inputs, tmp_path):
    """As they are published: a scale for each block of 128 × 128 weights."""
    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(inputs["base"], tmp_path / "base"))
    published = {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": published}))
    weights = load_file(base / "model.safetensors")
    projections = [name for name in weights if name.endswith("proj.weight")]
    for name in projections:
        whole = weights[name].float()
        scale = whole.abs().max() / 448
        weights[name] = (whole / scale).to(torch.float8_e4m3fn)
        weights[name + "_scale_inv"] = scale.reshape(1, 1)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    whole = load_base(inputs["base"], ModelConfig(quantization="none", device="cpu"))
    found = load_base(base, ModelConfig(quantization="none", device="cpu"))
    name = projections[0].removesuffix(".weight")
    torch.testing.assert_close(found.get_submodule(name).weight, whole.get_submodule(name).weight, atol=2e-3, rtol=0.07)


def one_by_one(trainer: Any, batch: dict[str, Any]) -> list[dict[str, Any]]:
    lengths = batch["cu_seq_lens_q"].diff().tolist()
    ids, labels = (batch[name][0].split(lengths) for name in ("input_ids", "labels"))
    return [
        trainer.data_collator([{"input_ids": i.tolist(), "labels": each.tolist(), "seq_lengths": [len(i)]}])
        for i, each in zip(ids, labels, strict=True)
    ]
