"""Where rows may attend each to itself, and that a model of few key heads then computes what it did."""

from math import inf

import pytest
import torch

from tasks.models.model import ModelConfig
from tasks.training.speedups import BY_ROW, _on_cuda, by_row, by_row_limit, choose_attention


@pytest.mark.parametrize(
    ("about", "tokens"),
    [
        ({"model_type": "llama"}, inf),
        ({"model_type": "mistral", "sliding_window": 4096}, 4096),
        ({"model_type": "mistral", "sliding_window": None}, inf),
        ({"model_type": "qwen2", "sliding_window": 32768, "layer_types": ["full_attention"]}, inf),
        ({"model_type": "qwen2", "sliding_window": 512, "layer_types": ["full_attention", "sliding_attention"]}, 512),
        ({"model_type": "llama4", "layer_types": ["chunked_attention", "full_attention"]}, 0),
        ({"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"]}, 0),
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, 0),
        ({"model_type": "llama", "attention_dropout": 0.1}, 0),
        ({"model_type": "gpt_oss", "layer_types": ["full_attention"]}, 0),
    ],
)
def test_a_row_may_be_as_long_as_every_layer_looks_back(about, tokens):
    assert by_row_limit(about) == tokens


def test_rows_that_are_longer_than_that_are_masked():
    assert choose_attention(ModelConfig(), 512, 512, cuda=False) == BY_ROW
    assert choose_attention(ModelConfig(), 512, 513, cuda=False) == "sdpa"
    assert choose_attention(ModelConfig(attention="eager"), 512, 512, cuda=False) == "eager"


@pytest.mark.parametrize("scored", [None, [2, 3, 6]])
def test_rows_attend_as_under_a_mask(scored):
    """Of 4 heads over 2 keys; where positions are `scored`, the last layer computes those behind the first of a row."""
    torch.manual_seed(0)
    begins = torch.tensor([0, 4, 5, 9], dtype=torch.int32)
    query, key, value = torch.randn(1, 4, 9, 8), torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    row = torch.repeat_interleave(torch.arange(3), begins.diff())
    mask = (row[:, None] == row) & torch.ones(9, 9, dtype=torch.bool).tril()
    whole = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, dim=1), value.repeat_interleave(2, dim=1), attn_mask=mask
    )
    last = torch.nn.Module()
    last.layer_idx, last.config = 1, type("Config", (), {"num_hidden_layers": 2})
    asked = None if scored is None else torch.tensor(scored)
    rows, _ = by_row(last, query, key, value, None, cu_seq_lens_q=begins, max_length_q=4, scored=asked)
    seen = slice(None) if scored is None else [2, 3, 6, 7, 8]
    torch.testing.assert_close(rows[:, seen], whole.transpose(1, 2)[:, seen])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_torch_has_a_kernel_for_a_gpu_that_takes_such_rows(dtype):
    """By shapes alone, on the meta device; tests/gpu computes with it."""
    query, key, value = (torch.empty(1, n, 9, 64, device="meta", dtype=dtype, requires_grad=True) for n in (4, 2, 2))
    begins = torch.tensor([0, 4, 5, 9], dtype=torch.int32, device="meta")
    attended = _on_cuda(query, key, value, begins, 4, 0.125)
    attended.sum().backward()
    assert (attended.shape, attended.dtype) == ((1, 9, 4, 64), dtype)
    assert (query.grad.shape, value.grad.shape) == (query.shape, value.shape)
