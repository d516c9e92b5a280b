"""The predicted peak of a step against the allocator's own record of a real one, and what `auto` makes of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tasks.models.model import ModelConfig
from tasks.training.config import TrainConfig
from tasks.training.fit import Fit, choose, current_fit, options, plan_memory, save_fit
from tasks.training.job import Job
from tasks.training.memory import CONTEXT, RESERVE, BaseShape, Need, Step, predict, shape_of
from tasks.training.speedups import may_unpack
from tests.tasks.tiny import packed, toy_base

BF16 = {"compute_dtype": "bfloat16"}  # on a CPU, too: autocast keeps then what it keeps on a GPU


def base_of(folder: Path, kind: str, **shape: int) -> Path:
    import torch
    import transformers

    toy_base(folder)
    config = getattr(transformers, f"{kind}Config")(pad_token_id=0, bos_token_id=1, eos_token_id=2, **shape)
    getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def sequences(folder: Path, *, length: int, count: int, row: int = 64) -> Path:
    """`count` packed sequences of `length` tokens, in rows of `row` tokens of which a quarter is the answer."""
    import numpy as np
    import pyarrow as pa

    from tasks.data.dataset.folder import Lengths, finish, tokens_schema
    from tasks.data.dataset.packing import Packing

    each = length // row
    ids = np.random.default_rng(0).integers(5, 250, (count * each, row)).tolist()
    folder.mkdir()
    prompts = pa.array([row * 3 // 4] * len(ids), pa.int32())
    with pa.ipc.new_stream(str(folder / "00000.arrow"), tokens_schema()) as stream:
        stream.write_table(pa.table([pa.array(ids, pa.list_(pa.int32())), prompts], schema=tokens_schema()))
    packing = Packing(np.arange(len(ids), dtype=np.int32), np.arange(each, len(ids) + 1, each))
    finish(folder, Lengths.of(folder), packing)
    return folder


def peak_of_second_step(trainer: Any) -> int:
    """Bytes alive at once in a step, beyond what was there before it, as torch's allocator has recorded them."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    class Recorded(TrainerCallback):
        recording = profile(activities=[ProfilerActivity.CPU], profile_memory=True)

        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 1:
                self.recording.__enter__()

        def on_step_end(self, args, state, control, **_):
            if state.global_step == 2:
                self.recording.__exit__(None, None, None)

    recorded = Recorded()
    trainer.add_callback(recorded)
    trainer.train()
    events = [each for each in recorded.recording.profiler.kineto_results.events() if each.name() == "[memory]"]
    sizes = torch.tensor([each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())])
    return int(sizes.cumsum(0).max())


def resident(model: Any, optimizer: Any) -> int:
    """Bytes of weights, their constants, the adapter and the optimizer's states."""
    import torch

    def tensors(of: Any):
        for value in vars(of).values():
            if isinstance(value, torch.Tensor):
                yield value
            elif hasattr(value, "absmax"):  # the constants' own
                yield from tensors(value)

    held = [*model.parameters(), *model.buffers()]
    held += [each for one in model.parameters() if hasattr(one, "quant_state") for each in tensors(one.quant_state)]
    held += [each for state in optimizer.state.values() for each in state.values() if isinstance(each, torch.Tensor)]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}.values())


def measured_and_predicted(folder: Path, kind: str, length: int, shape: dict[str, int], **settings) -> tuple[int, Need]:
    from tasks.data.dataset.folder import load
    from tasks.models.model import load_tokenizer
    from tasks.training.adapter import load_with_adapter
    from tasks.training.trainer import make_trainer

    config = TrainConfig(**{"batch_size": 1, "accumulation": 2, "max_steps": 2, **settings})
    base = base_of(folder / "base", kind, **shape)
    train = sequences(folder / "train", length=length, count=2 * config.batch_size * config.accumulation)
    job = Job(config=config, train=train, heldout=None, base=base, work=folder, out=folder)
    trainer = make_trainer(job, load_with_adapter(job), load_tokenizer(base), load(train), None)
    peak = peak_of_second_step(trainer)
    narrow = 2 if config.model.compute_dtype == "bfloat16" else 4
    checkpointing = config.gradient_checkpointing == "on"
    attention = trainer.model.config._attn_implementation
    step = Step(config.batch_size, length, 0.25, checkpointing, narrow, attention, False, may_unpack(config))
    return peak + resident(trainer.model, trainer.optimizer), predict(shape_of(base), config, step)


def shape(hidden: int, layers: int, heads: int, kv: int, inner: int, vocab: int) -> dict[str, int]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    return {**dict(zip(names, (hidden, layers, heads, kv, inner), strict=True)), "vocab_size": vocab}


CASES = {
    "llama, recomputed": (
        "Llama",
        192,
        shape(192, 3, 6, 6, 560, 500),
        {"gradient_checkpointing": "on", "speed": "plain"},
    ),
    "mistral, dropout": ("Mistral", 128, shape(256, 2, 4, 2, 700, 400), {"lora": {"r": 8}}),
    "llama, DoRA and a rank of its own, packed": (
        "Llama",
        192,
        shape(256, 2, 4, 4, 700, 400),
        {"speed": "plain", "lora": {"r": 4, "use_dora": True, "rank_pattern": {"down_proj": 96}}},
    ),
}
DORA = {"use_dora": True, "dropout": 0}
MORE = {
    "qwen2, vocabulary above a tile": ("Qwen2", 256, shape(256, 3, 4, 2, 1024, 50_000), {"batch_size": 2}),
    "mistral, recomputed in bfloat16": (
        "Mistral",
        384,
        shape(384, 6, 6, 2, 1344, 400),
        {"gradient_checkpointing": "on", "model": BF16, "lora": {"r": 32, "dropout": 0}},
    ),
    "llama, bfloat16": (
        "Llama",
        512,
        shape(320, 4, 5, 5, 900, 3000),
        {"model": BF16, "lora": {"r": 64}, "speed": "plain"},
    ),
    "llama, bfloat16, unpacked": ("Llama", 512, shape(320, 4, 5, 5, 900, 3000), {"model": BF16, "lora": {"r": 64}}),
    "qwen2, not quantized, two layers adapted": (
        "Qwen2",
        448,
        shape(512, 4, 8, 4, 1400, 1000),
        {"model": {"quantization": "none"}, "lora": {"target_modules": ("q_proj", "v_proj")}},
    ),
    "mistral, bfloat16, not quantized": (
        "Mistral",
        448,
        shape(384, 4, 6, 2, 1344, 400),
        {"model": {"quantization": "none", **BF16}, "lora": {"r": 32, "dropout": 0}},
    ),
    "qwen2, bfloat16, packed, two layers adapted": (
        "Qwen2",
        448,
        shape(512, 4, 8, 4, 1400, 1000),
        {"model": BF16, "speed": "plain", "lora": {"target_modules": ("q_proj", "v_proj")}},
    ),
    "llama, DoRA": ("Llama", 256, shape(320, 4, 5, 5, 900, 3000), {"lora": DORA}),
    "llama, DoRA, recomputed in bfloat16": (
        "Llama",
        512,
        shape(320, 4, 5, 5, 900, 3000),
        {"gradient_checkpointing": "on", "model": BF16, "speed": "plain", "lora": DORA},
    ),
    "mistral, DoRA, not quantized": (
        "Mistral",
        256,
        shape(384, 4, 6, 2, 1344, 400),
        {"model": {"quantization": "none"}, "lora": DORA},
    ),
    "llama, 1,024 tokens": (
        "Llama",
        1024,
        shape(256, 8, 4, 4, 800, 3072),
        {"gradient_checkpointing": "on", "model": {"double_quant": False}},
    ),
}


@pytest.fixture
def one_thread():
    """Two that wait for each other on a busy machine take ten times as long."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.nightly]) for name in MORE)]
)
def test_the_peak_of_a_step_is_predicted_within_a_tenth(case, tmp_path):
    kind, length, shape, settings = {**CASES, **MORE}[case]
    measured, need = measured_and_predicted(tmp_path, kind, length, shape, **settings)
    assert need.total == pytest.approx(measured, rel=0.1)


SEVEN_B = BaseShape(
    hidden=4096,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    inner=14336,
    vocab=32768,
    linear={
        f"model.layers.{at}.{name}.weight": sides
        for at in range(32)
        for name, sides in {
            "self_attn.q_proj": (4096, 4096),
            "self_attn.k_proj": (1024, 4096),
            "self_attn.v_proj": (1024, 4096),
            "self_attn.o_proj": (4096, 4096),
            "mlp.gate_proj": (14336, 4096),
            "mlp.up_proj": (14336, 4096),
            "mlp.down_proj": (4096, 14336),
        }.items()
    },
    others=2 * 32768 * 4096 + 65 * 4096,
    by_row_limit=math.inf,
)
CONFIG = TrainConfig(batch_size=2, accumulation=8)


def on_a_card(gib: float, attention: str = "flash_attention_2", length: int = 1024, **settings):
    config = CONFIG.model_copy(update=settings)
    found = options(SEVEN_B, config, Step(2, length, 0.25, True, 2, attention, True))
    return choose(found, gib * 2**30)


def test_a_larger_card_takes_more_at_once_of_the_same_batch_until_it_need_not_recompute():
    chosen = {gib: on_a_card(gib) for gib in (4, 8, 12, 24, 40, 80, 140)}
    assert chosen[4] is None  # the weights alone take 4.3
    assert [row.fit.batch for row in chosen.values() if row] == [16] * 6
    assert [(row.fit.micro_batch, row.checkpointing) for row in chosen.values() if row] == [
        *((2, True), (4, True), (16, True)),
        *((2, False), (4, False), (8, False)),  # of 2,048 tokens and more: full, and a third less work
    ]
    for gib, row in chosen.items():
        assert row is None or row.need.total <= gib * 2**30


def test_checkpointing_is_left_to_auto_only_where_the_config_leaves_it():
    assert not on_a_card(140, length=256).checkpointing
    assert on_a_card(140, length=256, gradient_checkpointing="on").checkpointing
    assert not on_a_card(40, gradient_checkpointing="off").checkpointing


def test_with_a_mask_a_forward_pass_is_never_made_larger_than_the_config_has_it():
    assert on_a_card(140, "sdpa").fit == (2, 8)
    assert on_a_card(140).fit == (8, 2)


def test_a_7b_model_at_1024_tokens_is_predicted_to_train_on_12_gb():
    row = on_a_card(12 * (1 - RESERVE) - CONTEXT / 2**30, "sdpa")
    assert row.fit.batch == 16


def test_with_memory_to_spare_all_of_a_step_goes_through_at_once(tmp_path):
    from tasks.data.dataset.folder import load

    train, base = packed(tmp_path / "train", rows=4), toy_base(tmp_path / "base")
    job = Job(config=TrainConfig(fit="auto"), train=train, heldout=None, base=base, work=tmp_path, out=tmp_path)
    after, predicted = plan_memory(job, load(train))
    assert after.config == job.config.model_copy(update={"gradient_checkpointing": "off"})
    assert json.loads(job.fit.read_bytes()) == {"micro_batch": 8, "accumulation": 1, "checkpointing": False}
    assert current_fit(job) == (8, 1)
    assert predicted["predicted_mib"] > 100
    assert "8 at once without checkpointing, 1 forward passes a step, the same batch of 8" in job.metrics.read_text()


def test_with_a_mask_nothing_changes(tmp_path):
    from tasks.data.dataset.folder import load

    train, base = packed(tmp_path / "train", rows=4), toy_base(tmp_path / "base")
    config = TrainConfig(fit="auto", model=ModelConfig(attention="sdpa"))
    job = Job(config=config, train=train, heldout=None, base=base, work=tmp_path, out=tmp_path)
    plan_memory(job, load(train))
    assert current_fit(job) == (2, 4)
    assert "2 at once without checkpointing, 4 forward passes a step, as given" in job.metrics.read_text()


def test_what_was_halved_when_memory_ran_out_is_not_chosen_anew(tmp_path):
    from tasks.data.dataset.folder import load

    train, base = packed(tmp_path / "train", rows=4), toy_base(tmp_path / "base")
    job = Job(config=TrainConfig(fit="auto"), train=train, heldout=None, base=base, work=tmp_path, out=tmp_path)
    save_fit(job, Fit(1, 8))
    after, _ = plan_memory(job, load(train))
    assert current_fit(after) == (1, 8)
    assert after.config == job.config.model_copy(update={"speed": "plain"})  # memory is scarce


SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 300}


@pytest.mark.parametrize(
    "config", [{"n_embd": 64}, {**SIZES, "intermediate_size": [128, 256]}, {**SIZES, "intermediate_size": None}]
)
def test_a_model_whose_config_lacks_a_size_is_trained_as_given(config, tmp_path):
    from tasks.data.dataset.folder import load

    train, base = packed(tmp_path / "train", rows=4), tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(config))
    job = Job(config=TrainConfig(fit="auto"), train=train, heldout=None, base=base, work=tmp_path, out=tmp_path)
    plain = job.config.model_copy(update={"speed": "plain"})
    assert plan_memory(job, load(train)) == (job.model_copy(update={"config": plain}), {})
    assert not job.fit.exists()


def test_a_prediction_that_fails_is_reported_and_the_model_is_trained_as_given(tmp_path, monkeypatch):
    from tasks.data.dataset.folder import load

    train, base = packed(tmp_path / "train", rows=4), toy_base(tmp_path / "base")
    job = Job(config=TrainConfig(fit="auto"), train=train, heldout=None, base=base, work=tmp_path, out=tmp_path)
    monkeypatch.setattr("tasks.training.fit.predict", lambda *_: 1 / 0)
    assert plan_memory(job, load(train)) == (job.with_config(speed="plain"), {})
    assert "memory prediction is off, the training goes on: ZeroDivisionError" in job.metrics.read_text()
