"""Ways to compute the same in less time: attention row by row, answers alone, weights unpacked once."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from tasks.models.model import ModelConfig
from tasks.training.config import TrainConfig
from tasks.training.job import Job

# Attention of packed rows, each to itself: nothing is masked, so the work grows with the rows and not with the pack.

BY_ROW = "by_row"  # the name of this implementation in transformers' attention interface
CHUNK = 256  # query tokens of a row at a time, on a CPU


def by_row_limit(base: Mapping[str, Any]) -> float:
    """The longest row in tokens for which by-row attention is what the model computes; 0 if never. From config.json.

    A layer with a sliding window is a full one for a row that is no longer than the window. Other kinds of layer, soft
    caps, dropout and sinks are not supported.
    """
    if any(base.get(name) for name in ("attn_logit_softcapping", "attention_dropout", "attn_pdrop")):
        return 0
    if str(base.get("model_type")).startswith("gpt_oss"):
        return 0
    kinds = set(base.get("layer_types") or ["sliding_attention" if base.get("sliding_window") else "full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        return 0
    return base.get("sliding_window") or 0 if "sliding_attention" in kinds else inf


def choose_attention(config: ModelConfig, limit: float, longest: int, *, cuda: bool) -> str:
    """The attention for rows of up to `longest` tokens, on this machine or, with `cuda`, on a present-day GPU."""
    import torch
    from transformers.utils.import_utils import is_flash_attn_2_available

    if config.attention != "auto":
        return config.attention
    if cuda and is_flash_attn_2_available():
        return "flash_attention_2"
    no_kernel = cuda and torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
    return BY_ROW if longest <= limit and not no_kernel else "sdpa"


def longest_row(job: Job) -> int:
    """In tokens, of the training and the held-out rows."""
    from tasks.data.dataset.folder import Lengths

    return max(int(Lengths.of(folder).wholes.max(initial=0)) for folder in (job.train, job.heldout) if folder)


def set_attention(model: Any, job: Job) -> None:
    """Switch to by-row attention if it computes the same; a model not written for the interface stays as it is."""
    from transformers import AttentionInterface

    limit = by_row_limit(model.config.get_text_config().to_dict())
    cuda = model.device.type == "cuda"
    model.plain_attention = model.config._attn_implementation
    if choose_attention(job.config.model, limit, longest_row(job), cuda=cuda) == BY_ROW:
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
    behind: Any = None,
    scaling: float | None = None,
    **_others: Any,
) -> tuple[Any, None]:
    """Causal attention within each row.

    `query` is (1, heads, tokens, width), `key` and `value` (1, key heads, tokens, width). `cu_seq_lens_q`, int32, holds
    the start of each row and the end of the last, `max_length_q` the longest row, as TRL's collator gives them; without
    them all is one row. `scored` are the ascending positions that the loss is on (see AnswerPositions): on a CPU the
    last layer skips those before the first of a row. `behind` has for each row the one that it continues, and sees
    as well; -1 for none. Returns (1, tokens, heads, width).
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
        firsts = _first_scored(scored, cu_seq_lens_q)
    queries, keys, values = (each.split(lengths, dim=2) for each in (query, key, value))
    if behind is not None:
        before = behind.tolist()
        keys, values = (
            [part if at < 0 else torch.cat([parts[at], part], 2) for at, part in zip(before, parts, strict=True)]
            for parts in (keys, values)
        )
    rows = zip(firsts, queries, keys, values, strict=True)
    parts = [part for row in rows for part in _attend(*row, scale=scaling)]
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None


def _first_scored(scored: Any, starts: Any) -> list[int]:
    """For each row its first scored position, or its length if there is none."""
    import torch

    following = torch.cat([scored, starts[-1:]])[torch.searchsorted(scored, starts[:-1])]
    return list((torch.minimum(following, starts[1:]) - starts[:-1]).tolist())


def _attend(first: int, query: Any, key: Any, value: Any, *, scale: float | None) -> Iterator[Any]:
    """The attention of one row, or the end of one, from its query `first` on, zeros before it, in chunks.

    torch's CPU kernel goes through keys 512 at a time, seen or not: a row of 480 in two chunks takes .8 of the time,
    forward and backward.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    skipped, rest = query[:, :, :first], query[:, :, first:]
    if first:
        yield torch.zeros_like(skipped)
    start = first + key.shape[2] - query.shape[2]
    for chunk in rest.split(CHUNK, dim=2) if rest.shape[2] else ():
        end = start + chunk.shape[2]
        seen = torch.ones(end - start, end, dtype=torch.bool).tril(start) if start else None
        yield scaled_dot_product_attention(
            chunk,
            key[:, :, :end],
            value[:, :, :end],
            attn_mask=seen,
            is_causal=seen is None,
            scale=scale,
            enable_gqa=True,
        )
        start = end


def _on_cuda(query: Any, key: Any, value: Any, starts: Any, longest: int, scale: float | None) -> Any:
    """By torch's own FlashAttention kernel, in 16 bits; it has no dropout, see `by_row_limit`."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    given = query.dtype
    if given == torch.float32:  # bitsandbytes' layers return it where norms are in float32
        narrow = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.bfloat16
        query, key, value = (each.to(narrow) for each in (query, key, value))
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    causal = (-1, 0)
    attended: Any = varlen_attn(
        query, key, value, starts, starts, longest, longest, scale=scale, window_size=causal, enable_gqa=True
    )
    return attended.to(given).unsqueeze(0)


class AnswerPositions:
    """Hooks by which a decoder returns hidden states only at the positions that the loss is on: one in ten, with RAG.

    The head then scores these alone; TRL does so only where Triton is. The last layer, too, computes what follows its
    keys and values for them alone: the tiny base has five layers. The decoder's argument `scored` holds the positions;
    batches are one row of all their tokens, without padding.
    """

    def __init__(self, decoder: Any) -> None:
        self.scored: Any = None  # of the present pass, kept until the next, as layers may be recomputed
        self.tokens = 0
        decoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        decoder.register_forward_hook(self._end)
        for module in after_attention(decoder):
            module.register_forward_pre_hook(self._gather)
            module.register_forward_hook(self._scatter)

    def _begin(self, _module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        self.scored = named.get("scored")

    def _end(self, _module: Any, _inputs: Any, output: Any) -> Any:
        if self.scored is not None:
            output.last_hidden_state = output.last_hidden_state.index_select(1, self.scored)
        return output

    def _gather(self, _module: Any, inputs: tuple[Any, ...]) -> Any:
        if self.scored is None:
            return inputs
        hidden, *others = inputs
        self.tokens = hidden.shape[1]
        return hidden.index_select(1, self.scored), *others

    def _scatter(self, _module: Any, _inputs: Any, output: Any) -> Any:
        """Back to all positions; the zeros elsewhere are used by nothing."""
        if self.scored is None:
            return output
        return output.new_zeros(1, self.tokens, output.shape[-1]).index_copy(1, self.scored, output)


def after_attention(decoder: Any) -> list[Any]:
    """o_proj and the MLP of the last layer if they are named as in Llama, and the MLP is no mixture of experts."""
    layers = _layers(decoder)
    if not layers:
        return []
    output, mlp = getattr(getattr(layers[-1], "self_attn", None), "o_proj", None), getattr(layers[-1], "mlp", None)
    return [module for module in (output, mlp if hasattr(mlp, "down_proj") else None) if module is not None]


def _layers(decoder: Any) -> list[Any]:
    """Empty for a decoder that names them otherwise than Llama."""
    return list(getattr(decoder, "layers", None) or [])


def may_unpack(config: TrainConfig) -> bool:
    """Whether 4-bit weights may be unpacked, once instead of in each forward and backward pass.

    Four bits buy memory, not speed: on a CPU the tiny base trains 1.2 times as fast unpacked, and its adapter has the
    same bytes. In 16 bits results differ in rounding: what a packed layer returns is cast to float32 before SiLU. LoftQ
    needs the weights packed, as its adapter is computed from them.
    """
    return config.speed == "auto" and config.model.quantization != "none" and config.lora.init == "default"
