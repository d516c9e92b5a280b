"""Prompts that begin alike go through the model once, and each answer is that of the prompt alone."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, MistralConfig, MistralForCausalLM

from tasks.models.beginnings import batches, begin
from tests.tasks.tiny import toy_base

ALIKE = list(range(20, 60))
PROMPTS = {
    "a": [*ALIKE, 7, 8, 9],
    "b": [*ALIKE, 7, 9, 9, 11, 12],
    "lone": list(range(100, 125)),
    "c": [*ALIKE, 6],
    "twin": [*ALIKE, 6],
    "d": list(range(90, 130)),
    "e": [*range(90, 128), 5],
}


@pytest.fixture
def prompts():
    return {name: np.array(ids, np.int32) for name, ids in PROMPTS.items()}


def toy(folder):
    return AutoModelForCausalLM.from_pretrained(toy_base(folder), dtype=torch.float32).eval()


def sliding(_folder):
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    return MistralForCausalLM(
        MistralConfig(vocab_size=300, hidden_size=32, intermediate_size=64, sliding_window=16, **shape)
    ).eval()


@pytest.mark.parametrize(("make", "goes_on"), [(toy, True), (sliding, False)])
def test_a_row_goes_on_as_its_prompt_does_alone(tmp_path, prompts, make, goes_on):
    model = make(tmp_path / "base")
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=2, pad_token_id=2)
    (groups,) = batches(prompts, 12, 10_000)
    with torch.inference_mode():
        ids, mask, cache = begin(model, prompts, groups, 2)
        assert (cache is not None) == goes_on
        out = model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache)[:, ids.shape[1] :]
        for name, given in zip([name for group in groups for name in group.names], out.tolist(), strict=True):
            alone = model.generate(input_ids=torch.tensor([PROMPTS[name]]))[0, len(PROMPTS[name]) :].tolist()
            assert given[: len(alone)] == alone, name


def test_groups_share_half_of_their_tokens_and_batches_hold_so_many(prompts):
    (whole,) = batches(prompts, 10, 10_000)
    assert {frozenset(group.names): group.shared for group in whole} == {
        frozenset({"a", "b", "c", "twin"}): len(ALIKE),
        frozenset({"d", "e"}): 38,
        frozenset({"lone"}): 24,
    }
    cut = list(batches(prompts, 10, 120))
    assert sorted(name for batch in cut for group in batch for name in group.names) == sorted(PROMPTS)
    for batch in cut:
        width = max(group.shared for group in batch) + max(group.longest for group in batch) + 10
        rows = sum(len(group.names) for group in batch)
        assert rows == 1 or rows * width <= 120
