"""What a training costs: tokens a second, the share of the device's matrix rate that the model uses (MFU), watts.

FLOPs are the model's, after PaLM (Chowdhery et al. 2022, appendix B), for an adapter beside a frozen base. A matrix
product takes 2 FLOPs a weight and token; what is trained takes 6 (forward, its gradient, its input's gradient), what
is frozen 4, as it has no gradient. Attention takes 12 × heads × head size a layer for each pair of a token and one that
it sees: causal, by example and within a sliding window. The head, and what the last layer computes for answers alone
(answers.py), count for the tokens that the loss is on. What is computed besides, padding, masks and activations that
checkpointing recomputes, is no use, and not counted: it lowers MFU. Nor are embeddings, norms and the optimizer, which
are no matrix products.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from tasks.data.dataset.folder import IGNORED

Reduce = Callable[[Any], Any]  # a tensor of this process → its sum over all processes

BUDGET = 0.1  # seconds of matrix products to measure a rate by
SIZES = (256, 512, 1024, 2048, 4096, 8192)  # of square matrices; two of the last one are 256 MiB in 16 bits
OTHERWISE = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")  # not every weight for each token
KINDS = {"full_attention", "sliding_attention"}
WATTS_EVERY = 1.0  # seconds; a driver's own mean is over up to one


class Flops(NamedTuple):
    """Of a forward and a backward pass."""

    token: int
    scored: int  # for each token that the loss is on, beside the above
    pairs: dict[int | None, int]  # window (None: all before) → for each pair of a token and one that it sees, of layers


def flops_of(model: Any) -> Flops | None:
    """Of a PEFT model, from its linear layers; None where not every weight works on each token, or attention differs.

    Those that are fused, Conv1D of GPT-2 and the like, count as well.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from tasks.training.faster.answers import behind_attention

    base = model.get_base_model()
    about = base.config.get_text_config()
    window = getattr(about, "sliding_window", None)
    kinds = getattr(about, "layer_types", None) or ["sliding_attention"] * about.num_hidden_layers
    if any(getattr(about, name, None) for name in OTHERWISE) or not set(kinds) <= KINDS:
        return None
    alone = {
        part for each in (base.get_output_embeddings(), *behind_attention(base.base_model)) for part in each.modules()
    }
    token = scored = 0
    for module in model.modules():
        if isinstance(module, nn.Linear):  # a packed one's weight has another shape
            weights = module.in_features * module.out_features
        elif isinstance(module, Conv1D):
            weights = module.weight.numel()
        else:
            continue
        flops = weights * (6 if module.weight.requires_grad else 4)
        token, scored = (token, scored + flops) if module in alone else (token + flops, scored)
    heads = about.num_attention_heads
    width = heads * (getattr(about, "head_dim", None) or about.hidden_size // heads)
    layers = Counter(window if kind == "sliding_attention" else None for kind in kinds)
    return Flops(token, scored, {each: 12 * width * count for each, count in layers.items()})


def matrix_rate(device: str, dtype: Any) -> float:
    """FLOPs a second of the best square matrix product that is found in a tenth of a second; no table of cards.

    Its numbers are random, as equal ones draw less power and run faster; they come from a generator of their own, so
    that what is drawn after it stays the same. What it took is given back, and is no part of the peak.
    """
    import torch

    draw = torch.Generator(device).manual_seed(0)
    best = spent = 0.0
    for size in SIZES:
        left = torch.rand(size, size, generator=draw, device=device, dtype=dtype)
        out = left @ left  # loads what this size takes, the first one CUDA itself: no part of the budget
        each = [_timed(partial(torch.mm, left, left, out=out), device) for _ in range(3)]
        best, spent = max(best, 2 * size**3 / min(each)), spent + sum(each)
        if spent + 3 * 8 * min(each) > BUDGET:  # twice the size takes eight times as long
            break
    if device == "cuda":
        del left, out
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return best


def peak_mib() -> float:
    """The most memory that this process has had: of the GPU what torch allocated, on a CPU all."""
    import resource

    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


def _timed(do: Callable[[], Any], device: str) -> float:
    import torch

    wait = torch.get_device_module(device).synchronize
    wait()
    began = time.perf_counter()
    do()
    wait()
    return time.perf_counter() - began


class Watts:
    """What this process's GPU draws, asked at most once a second; None where the driver does not tell.

    It takes nvidia-ml-py, which nothing here depends on.
    """

    def __init__(self) -> None:
        self.drawn: list[float] = []
        self.next = 0.0

    def sample(self) -> None:
        import torch

        if not torch.cuda.is_initialized() or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + WATTS_EVERY
        try:
            self.drawn.append(torch.cuda.power_draw() / 1000)
        except Exception:  # no nvidia-ml-py, or NVML's own error, which only that knows; never worth a training
            self.next = math.inf

    def since(self, number: int) -> float | None:
        """The mean, but for the first `number` samples."""
        drawn = self.drawn[number:] or self.drawn[-1:]
        return sum(drawn) / len(drawn) if drawn else None


class Lap(NamedTuple):
    """Where a meter stood: its counts, its seconds, and how often watts were read."""

    counts: Any
    seconds: float
    watts: int


class Meter:
    """Counts what goes through the model in training, and the seconds that it takes.

    Counting waits for no device. The clock is that of optimizer steps: it stands while the trainer evaluates, logs and
    saves. `rate` is the device's, in FLOPs a second; without it, or without `flops`, there is no MFU.
    """

    def __init__(self, flops: Flops | None, rate: float | None) -> None:
        self.flops = flops
        self.rate = rate
        self.seconds = 0.0
        self.began: float | None = None  # when the clock last began to run
        self.counts: Any = 0  # useful tokens, computed ones, scored ones, and pairs by window: a tensor of the device
        self.last = Lap(0, 0.0, 0)  # at the log line before
        self.watts = Watts()

    def take(self, inputs: dict[str, Any]) -> None:
        """Count a batch: input_ids, labels, and position_ids or, where it is padded, attention_mask; [rows, tokens]."""
        import torch

        if self.began is None:
            self.began = time.monotonic()
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        computed = ids.new_tensor(ids.numel())
        useful, seen = (computed, inputs["position_ids"] + 1) if mask is None else (mask.sum(), mask.cumsum(-1) * mask)
        scored = (inputs["labels"][:, 1:] != IGNORED).sum()
        windows = self.flops.pairs if self.flops else ()
        pairs = [(seen if window is None else seen.clamp(max=window)).sum() for window in windows]
        self.counts = self.counts + torch.stack([useful, computed, scored, *pairs])
        self.watts.sample()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock once the device is done with what it was given; go on behind it."""
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        if self.began is not None:
            self.seconds += time.monotonic() - self.began
        try:
            yield
        finally:
            self.began = None if self.began is None else time.monotonic()

    def since_last(self, reduce: Reduce) -> dict[str, float]:
        """Of the steps since it was asked last, to be asked while it is paused; `reduce` sums over all processes."""
        lap, self.last = self.last, Lap(self.counts, self.seconds, len(self.watts.drawn))
        return self._told(lap, reduce)

    def of_all(self, reduce: Reduce) -> dict[str, float]:
        """Of all steps that this process did until it was last paused."""
        return self._told(Lap(0, 0.0, 0), reduce)

    def _told(self, since: Lap, reduce: Reduce) -> dict[str, float]:
        import torch

        seconds = self.seconds - since.seconds
        if not seconds:  # no step was done: a resumed training that had come to its end
            return {}
        watts = self.watts.since(since.watts)
        own = torch.tensor([self.rate or math.nan, math.nan if watts is None else watts], dtype=torch.float64)
        counts = (self.counts - since.counts).double()
        useful, computed, scored, *pairs, rate, drawn = reduce(torch.cat([counts, own.to(counts.device)])).tolist()
        told = {"tokens_per_second": round(useful / seconds), "computed_tokens_per_second": round(computed / seconds)}
        if self.flops and math.isfinite(rate):
            flops = useful * self.flops.token + scored * self.flops.scored
            flops += sum(count * each for count, each in zip(pairs, self.flops.pairs.values(), strict=True))
            told["mfu"] = round(flops / seconds / rate, 4)
        if math.isfinite(drawn):
            told["watts"] = round(drawn)
        return told
