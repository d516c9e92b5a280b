"""Attention of packed rows, each to itself: nothing is masked, so the work grows with the rows and not with the pack.

An implementation of transformers' attention interface, by which models that are written for that compute.
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from tasks.models.model import ModelConfig
from tasks.training.job import Job

BY_ROW = "by_row"  # its name in a model's config while it trains
PART = 256  # tokens of a row that attend at once, on a CPU


def reach(about: Mapping[str, Any]) -> float:
    """How many tokens a row may have for `by_row` to be what the model computes, by its config.json.

    Layers that look back so far only are full ones for a row that is no longer; of other kinds of layer, and where
    scores are bounded, dropped out or have a sink, it is 0.
    """
    if any(about.get(each) for each in ("attn_logit_softcapping", "attention_dropout", "attn_pdrop")):
        return 0
    if str(about.get("model_type")).startswith("gpt_oss"):
        return 0
    kinds = set(about.get("layer_types") or ["sliding_attention" if about.get("sliding_window") else "full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        return 0
    return about["sliding_window"] if "sliding_attention" in kinds else inf


def implementation(config: ModelConfig, reaches: float, longest: int, *, cuda: bool) -> str:
    """What a training of rows of up to `longest` tokens attends with, here or on a GPU like those that are sold now."""
    import torch
    from transformers.utils.import_utils import is_flash_attn_2_available

    if config.attention != "auto":
        return config.attention
    if cuda and is_flash_attn_2_available():
        return "flash_attention_2"
    old = cuda and torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)  # torch has no kernel
    return BY_ROW if longest <= reaches and not old else "sdpa"


def longest_row(job: Job) -> int:
    """Tokens, of what the job trains on and is held against."""
    from tasks.data.dataset.folder import Lengths

    return max(int(Lengths.of(folder).wholes.max(initial=0)) for folder in (job.train, job.heldout) if folder)


def attend(model: Any, job: Job) -> None:
    """Have the model attend by row where that is what it computes; one not written for the interface goes on as is."""
    from transformers import AttentionInterface

    reaches = reach(model.config.get_text_config().to_dict())
    if implementation(job.config.model, reaches, longest_row(job), cuda=model.device.type == "cuda") == BY_ROW:
        AttentionInterface.register(BY_ROW, by_row)
        model.set_attn_implementation(BY_ROW)


def by_row(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: None,
    *,
    cu_seq_lens_q: Any = None,
    max_length_q: int = 0,
    scored: Any = None,
    scaling: float | None = None,
    **_others: Any,
) -> tuple[Any, None]:
    """Causal attention within each row.

    `query` is (1, heads, tokens, width), `key` and `value` (1, key heads, tokens, width); `cu_seq_lens_q`, int32, tells
    where each row begins and, at its end, where the last one ends, and `max_length_q` is the longest: as TRL's collator
    tells them. Without them it is one row. `scored` are the positions, ascending, that the loss is on (answers.py): on
    a CPU the last layer does without those before a row's first. Returns (1, tokens, heads, width).
    """
    import torch

    if cu_seq_lens_q is None:
        max_length_q = query.shape[2]
        cu_seq_lens_q = torch.tensor([0, max_length_q], dtype=torch.int32, device=query.device)
    if query.device.type == "cuda":
        return _on_cuda(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    lengths = cu_seq_lens_q.diff().tolist()
    firsts = [0] * len(lengths)
    if scored is not None and module.layer_idx == module.config.num_hidden_layers - 1:
        firsts = _firsts(scored, cu_seq_lens_q)
    rows = (each.split(lengths, dim=2) for each in (query, key, value))
    parts = [part for row in zip(firsts, *rows, strict=True) for part in _row(*row, scale=scaling)]
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None


def _firsts(scored: Any, begins: Any) -> list[int]:
    """Of each row the first position that is scored, or its length."""
    import torch

    behind = torch.cat([scored, begins[-1:]])[torch.searchsorted(scored, begins[:-1])]
    return list((torch.minimum(behind, begins[1:]) - begins[:-1]).tolist())


def _row(first: int, query: Any, key: Any, value: Any, *, scale: float | None) -> Iterator[Any]:
    """A row's attention from its position `first` on, zeros before, in parts one after the other.

    torch's kernel for a CPU goes through keys 512 at a time, seen or not: a row of 480 in two parts takes .8 times as
    long, forward and back.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    before, behind = query[:, :, :first], query[:, :, first:]
    if first:
        yield torch.zeros_like(before)
    start = first
    for part in behind.split(PART, dim=2) if behind.shape[2] else ():
        end = start + part.shape[2]
        seen = torch.ones(end - start, end, dtype=torch.bool).tril(start) if start else None
        yield scaled_dot_product_attention(
            part,
            key[:, :, :end],
            value[:, :, :end],
            attn_mask=seen,
            is_causal=seen is None,
            scale=scale,
            enable_gqa=True,
        )
        start = end


def _on_cuda(query: Any, key: Any, value: Any, begins: Any, longest: int, scale: float | None) -> Any:
    """By torch's own FlashAttention kernel, in 16 bits; it has no dropout, see `reach`."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    given = query.dtype
    if given == torch.float32:  # what bitsandbytes' layers give where norms are in float32
        narrow = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.bfloat16
        query, key, value = (each.to(narrow) for each in (query, key, value))
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    causal = (-1, 0)
    attended: Any = varlen_attn(
        query, key, value, begins, begins, longest, longest, scale=scale, window_size=causal, enable_gqa=True
    )
    return attended.to(given).unsqueeze(0)
