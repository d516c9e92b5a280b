"""`make bench NAME=gpu`: that it counts right, and that all of it runs, with toy shapes on a CPU."""

import json
import os
import subprocess
import sys

import pytest

from tasks.engine.code.source import ROOT
from tasks.training.memory import shape_of
from tests.bench import _gpu_data, _gpu_models
from tests.bench._gpu_clock import counted
from tests.bench._gpu_flops import flops


def bench(**settings: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "tests.bench", "gpu"]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, **settings}, text=True, capture_output=True)


def test_without_a_card_it_says_that_it_needs_one():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    done = bench()
    assert done.returncode == 2
    assert done.stderr.startswith("this bench needs a CUDA card")
    assert len(done.stderr.splitlines()) == 1


def test_a_step_is_worth_what_torch_counts_where_all_is_of_use(toy):
    """Which is whole squares of pairs, every token scored, and a gradient of the first layer's input, too."""
    import peft
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(toy.base, dtype=torch.float32, attn_implementation="eager")
    model = peft.get_peft_model(base, peft.LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.enable_input_require_grads()
    ids = torch.arange(40).view(2, 20) + 10
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    trained = model.get_nb_trainable_parameters()[0]
    shape = shape_of(toy.base)
    assert shape
    given = {"trained": trained, "tokens": 40, "pairs": 2 * 20 * 20}
    assert flops(shape, scored=40, **given) == counter.get_total_flops()
    last = 4 * (64 * 64 + 3 * 64 * 160) + 4 * 64 * 3072  # o_proj, MLP and head of the toy
    assert flops(shape, scored=40, **given) - flops(shape, scored=30, **given) == 10 * last


def test_the_same_rows_count_the_same_padded_and_packed():
    import torch

    ids = torch.arange(10, 17)
    packed = {
        "input_ids": ids[None],
        "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2]]),
        "labels": torch.tensor([[-100, -100, 12, 13, -100, 15, 16]]),
    }
    padded = {
        "input_ids": torch.stack([ids[:4], torch.cat([ids[4:], ids[:1]])]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        "labels": torch.tensor([[-100, -100, 12, 13], [-100, 15, 16, -100]]),
    }
    assert counted(packed).tolist() == counted(padded).tolist() == [7, 4, 4 * 5 // 2 + 3 * 4 // 2]


def test_a_base_of_random_weights_is_one_that_is_trained(tmp_path, monkeypatch):
    from tasks.models.model import ModelConfig, load_base, load_tokenizer

    monkeypatch.setattr(_gpu_models, "SHARD", 100_000)
    folder = _gpu_models.make("llama-toy", tmp_path / "base")
    assert len(list(folder.glob("*.safetensors"))) > 3
    model = load_base(folder, ModelConfig(quantization="none", device="cpu"))
    assert sum(weight.numel() for weight in model.parameters()) * 2 == _gpu_models.size("llama-toy")
    assert model.config.vocab_size >= len(load_tokenizer(folder))


def test_the_models_have_the_sizes_of_those_whose_shapes_they_have():
    billions = {name: _gpu_models.size(name) / 2e9 for name in ("mistral-7b", "llama-8b")}
    assert billions == pytest.approx({"mistral-7b": 7.24, "llama-8b": 8.03}, abs=0.01)


@pytest.mark.slow
@pytest.mark.nightly
def test_rows_fill_as_much_of_a_longer_sequence_as_the_samples_do(tmp_path):
    import numpy as np

    from tasks.data.dataset.folder import Lengths

    shares = {}
    for length in (256, 1024, 4096):
        made = _gpu_data.make(tmp_path / str(length), 60, length)
        lengths = Lengths.of(made.train).wholes
        assert (made.number, made.useful) == (len(lengths), lengths.sum())
        shares[length] = np.quantile(lengths, [0.25, 0.5, 0.75]) / length
    assert shares[1024] == pytest.approx(shares[256], rel=0.15)
    assert shares[4096] == pytest.approx(shares[256], rel=0.15)


OURS, OTHERS = ("auto", "plain", "bf16"), ("course", "trl", "unsloth", "axolotl")


@pytest.mark.slow
@pytest.mark.nightly
def test_all_of_it_runs_with_toy_shapes():
    """Half a minute of it is imports: ten processes train."""
    done = bench(BENCH_TINY="1", BENCH_LENGTHS="256")
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if result["holds"] else 1), done.stderr
    assert {"name", "ratio", "target", "times_best_peer", "mfu_at_longest", "device", "matrix_tflops"} <= set(result)
    assert (result["name"], result["target"]) == ("gpu", 4.0)
    assert set(result["runs"]) == {"mistral-toy", "llama-toy"}
    for model, by_length in result["runs"].items():
        runs = by_length["256"]
        assert set(runs) == {*OURS, *OTHERS}
        there = {who: run for who, run in runs.items() if run}
        assert {*OURS, "course", "trl"} <= set(there), result["left_out"]
        assert {run["all_tokens"] for run in there.values()} == {result["rows"]["256"]["tokens"]}
        for run in there.values():
            assert 0 < run["tokens"] < run["all_tokens"]
            assert min(run["tokens_per_second"], run["mfu"], run["peak_mib"], run["seconds"], run["steps"]) > 0
        for who in set(runs) - set(there):
            assert result["left_out"][f"{model} 256 {who}"] == "not installed"
    first, second = (result["runs"][model]["256"] for model in ("mistral-toy", "llama-toy"))
    times = [each["auto"]["tokens_per_second"] / each["course"]["tokens_per_second"] for each in (first, second)]
    assert result["ratio"] == pytest.approx(min(times), abs=1e-4)
