"""Loading the base model: what goes wrong is said in words, and 4 bits on a CPU stay trainable."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tasks.engine.errors import UserError
from tasks.models.model import (
    ModelConfig,
    attach_adapter,
    compute_dtype,
    inference,
    load_base,
    load_frozen,
    load_tokenizer,
)
from tests.tasks.tiny import toy_base

PLAIN = ModelConfig(quantization="none", device="cpu")
NF4 = ModelConfig(device="cpu")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "base"))


def test_a_base_model_is_held_in_4_bits_or_in_full(original):
    from bitsandbytes.nn.modules import Linear4bit

    quantized, full = load_base(original, NF4), load_base(original, PLAIN)
    assert sum(isinstance(module, Linear4bit) for module in quantized.modules()) == 2 * 7
    assert quantized.get_memory_footprint() < full.get_memory_footprint()
    assert {weight.dtype for weight in full.parameters()} == {torch.float32}
    assert not quantized.training


def test_weights_unpacked_for_answers_give_the_logits_of_packed_ones_to_the_last_bit(original):
    from bitsandbytes.nn.modules import Linear4bit

    packed, unpacked = load_base(original, NF4), load_frozen(original, NF4)
    assert not any(isinstance(module, Linear4bit) for module in unpacked.modules())
    ids = torch.arange(40).reshape(2, 20)
    with torch.inference_mode():
        assert torch.equal(packed(input_ids=ids).logits, unpacked(input_ids=ids).logits)


def test_training_after_an_evaluation_in_4_bits_has_the_gradients_of_training_at_once(original):
    """bitsandbytes 0.50 repacks weights for AVX512-BF16 at the first evaluation, and has no gradient for them."""
    import peft

    def gradients(evaluate_first: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = peft.prepare_model_for_kbit_training(load_base(original, NF4), use_gradient_checkpointing=False)
        model = peft.get_peft_model(
            model, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        )
        ids = torch.arange(40).reshape(2, 20)
        if evaluate_first:
            with torch.no_grad():
                model.eval()(input_ids=ids, labels=ids)
        model.train()(input_ids=ids, labels=ids).loss.backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    at_once, afterwards = gradients(False), gradients(True)
    assert len(at_once) == 2 * 2 * 7
    assert all(torch.equal(at_once[name], afterwards[name]) for name in at_once)


def test_the_compute_dtype_is_chosen_for_the_device():
    assert compute_dtype(NF4, "cpu") == torch.float32
    assert compute_dtype(ModelConfig(compute_dtype="bfloat16"), "cpu") == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_config_for_a_gpu_is_refused_where_there_is_none(original):
    with pytest.raises(UserError, match="no CUDA device"):
        load_base(original, ModelConfig(device="cuda"))
    with pytest.raises(UserError, match="flash_attention_2"):
        load_base(original, ModelConfig(attention="flash_attention_2"))


def test_an_empty_folder_is_no_base_model(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        load_base(tmp_path, PLAIN)


def test_pickled_weights_are_refused(base):
    (base / "model.safetensors").unlink()
    torch.save({}, base / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded") as refused:
        load_base(base, PLAIN)
    assert "pickled weights are refused" in refused.value.remedy


def test_an_unknown_architecture_is_named(base):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "model_type": "qwen99", "architectures": ["Qwen99"]}))
    with pytest.raises(UserError, match="qwen99") as refused:
        load_base(base, PLAIN)
    assert "upgrade transformers" in refused.value.remedy


def test_broken_weights_are_an_error_for_the_user(base):
    (base / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(UserError, match="cannot be loaded|not in its"):
        load_base(base, PLAIN)


def test_a_base_with_a_weight_missing_is_refused_rather_than_filled_with_random_numbers(base):
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    for config in (PLAIN, NF4):
        with pytest.raises(UserError, match="1 weights are not in .* model.layers.1.mlp.up_proj.weight"):
            load_base(base, config)


def test_a_base_without_a_tokenizer_says_so(base):
    (base / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_tokenizer(base)


def test_an_adapter_of_another_shape_does_not_fit(original, tmp_path):
    import peft
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors"):
        attach_adapter(load_base(original, PLAIN), tmp_path)
    other = Qwen2ForCausalLM(Qwen2Config(vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2))
    peft.get_peft_model(other, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="does not fit this base model"):
        attach_adapter(load_base(original, PLAIN), tmp_path / "adapter")


def test_a_small_model_on_a_cpu_runs_in_one_thread_and_leaves_the_number_as_it_was():
    model = torch.nn.Module()
    model.register_parameter("weight", torch.nn.Parameter(torch.zeros(2)))
    model.device = torch.device("cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), inference(model):
            assert torch.get_num_threads() == 1 and torch.is_inference_mode_enabled()
            raise KeyError
        assert torch.get_num_threads() == 3 and not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(threads)
