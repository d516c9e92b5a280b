"""What a training costs: tokens a second, the share of the device's matrix rate that the model uses (MFU), watts.

FLOPs are the model's, after PaLM (Chowdhery et al. 2022, appendix B), for an adapter beside a frozen base. A matrix
product takes 2 FLOPs per weight and token; trained weights take 6 (forward, their gradient, the input's gradient),
frozen ones 4, as they have no gradient. Attention takes 12 × heads × head size in each layer for each pair of a token
and one that it sees: causal, within its row and within a sliding window. The head, and what the last layer computes for
answers alone (AnswerPositions), count for the tokens that the loss is on. Not counted, so that they lower MFU: padding,
masks, and activations that checkpointing recomputes; nor embeddings, norms and the optimizer, which are no matrix
products.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tasks.data.dataset.folder import IGNORED

T = TypeVar("T")
BUDGET = 0.1  # seconds of matrix products to measure a rate by
SIZES = (256, 512, 1024, 2048, 4096, 8192)  # of square matrices; two of the last one take 256 MiB in 16 bits
# Fields of models in which not every weight works on each token.
SPARSE = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")
KINDS = {"full_attention", "sliding_attention"}
WATTS_EVERY = 1.0  # seconds; a driver's own mean is over up to one


class Observer:
    """Runs what only looks at a training, which never ends the training: the first failure is said, and turns it off.

    All telemetry and the memory prediction go through it.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name, self.say, self.off = name, say, False

    def __call__(self, look: Callable[[], T], default: T) -> T:
        """What `look` returns; `default` if it fails or has failed before."""
        if self.off:
            return default
        try:
            return look()
        except Exception as error:
            self.off = True
            self.say(f"{self.name} is off, the training goes on: {type(error).__name__}: {error}")
            return default


class Flops(NamedTuple):
    """Of a forward and a backward pass."""

    token: int
    scored: int  # for each token that the loss is on, in addition
    pairs: dict[int | None, int]  # window (None: unlimited) → FLOPs of all its layers for each pair of tokens


def flops_of(model: Any) -> Flops | None:
    """Of a PEFT model, from its linear layers; None where not every weight works on each token, or attention differs.

    Fused linear layers, such as Conv1D of GPT-2, count as well.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from tasks.training.speedups import after_attention

    base = model.get_base_model()
    config = base.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    if any(getattr(config, name, None) for name in SPARSE) or not set(kinds) <= KINDS:
        return None
    for_answers = (base.get_output_embeddings(), *after_attention(base.base_model))
    answers_only = {part for module in for_answers for part in module.modules()}
    token = scored = 0
    for module in model.modules():
        if isinstance(module, nn.Linear):  # a 4-bit weight has another shape
            weights = module.in_features * module.out_features
        elif isinstance(module, Conv1D):
            weights = module.weight.numel()
        else:
            continue
        flops = weights * (6 if module.weight.requires_grad else 4)
        token, scored = (token, scored + flops) if module in answers_only else (token + flops, scored)
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    layers = Counter(window if kind == "sliding_attention" else None for kind in kinds)
    return Flops(token, scored, {each: 12 * width * count for each, count in layers.items()})


def matrix_rate(device: str, dtype: Any) -> float:
    """FLOPs a second of the fastest square matrix product found in a tenth of a second; no table of cards.

    The numbers are random, as equal ones draw less power and run faster; their own generator leaves the seeded stream
    alone. The memory is released and is not part of the peak.
    """
    import torch

    generator = torch.Generator(device).manual_seed(0)
    best = spent = 0.0
    for size in SIZES:
        matrix = torch.rand(size, size, generator=generator, device=device, dtype=dtype)
        out = matrix @ matrix  # loads the kernel, first of all CUDA itself: not part of the budget
        times = [_seconds(partial(torch.mm, matrix, matrix, out=out), device) for _ in range(3)]
        best, spent = max(best, 2 * size**3 / min(times)), spent + sum(times)
        if spent + 3 * 8 * min(times) > BUDGET:  # twice the size takes eight times as long
            break
    if device == "cuda":
        del matrix, out
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return best


def _seconds(do: Callable[[], Any], device: str) -> float:
    import torch

    synchronize = torch.get_device_module(device).synchronize
    synchronize()
    began = time.perf_counter()
    do()
    synchronize()
    return time.perf_counter() - began


def peak_mib() -> float:
    """The peak memory of this process: on a GPU what torch allocated, on a CPU all."""
    import resource

    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


class Sums(NamedTuple):
    """Values that add up over processes, so that each can send them as one tensor."""

    processes: float
    seconds: float
    useful: float  # tokens
    computed: float  # tokens, padding included
    flops: float
    rate: float  # FLOPs a second of the device; NaN: unknown
    watts: float  # NaN: unknown


NO_SUMS = Sums(0, 0, 0, 0, 0, math.nan, math.nan)


def figures(values: Sequence[float]) -> dict[str, float]:
    """Rates from the summed `Sums` of all processes; {} if they did no step, as after a resume from the last one."""
    sums = Sums(*values)
    if not sums.seconds:
        return {}
    seconds = sums.seconds / sums.processes
    found = {"tokens_per_second": sums.useful / seconds, "computed_tokens_per_second": sums.computed / seconds}
    rates: dict[str, float] = {name: round(value) for name, value in found.items()}
    if math.isfinite(mfu := sums.flops / seconds / sums.rate):
        rates["mfu"] = round(mfu, 4)
    if math.isfinite(sums.watts):
        rates["watts"] = round(sums.watts)
    return rates


class Lap(NamedTuple):
    """Where a meter stood: its counts, its seconds and how many values of watts it had."""

    counts: Any
    seconds: float
    watts: int


class Meter:
    """Counts tokens and FLOPs of optimizer steps, and their seconds: the clock stands between `stop` and `start`.

    Counting does not wait for the device. Without `rate`, the device's FLOPs a second, or `flops` there is no MFU.
    """

    def __init__(self, flops: Flops | None, rate: float | None) -> None:
        self.flops = flops
        self.rate = rate
        self.seconds = 0.0
        self.began: float | None = None  # when the clock last began to run
        self.counts: Any = 0  # a tensor on the device: useful, computed and scored tokens, pairs by window
        self.watts: list[float] = []  # one value a second
        self.next_watts = 0.0
        self.last = Lap(0, 0.0, 0)  # where `sums` was last asked

    def count(self, inputs: dict[str, Any]) -> None:
        """Count a batch of [rows, tokens]: input_ids, labels and position_ids, or attention_mask if it is padded."""
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
        self._read_watts()

    def _read_watts(self) -> None:
        """What the GPU draws, at most once a second; needs nvidia-ml-py, which is not a dependency."""
        import torch

        if not torch.cuda.is_initialized() or time.monotonic() < self.next_watts:
            return
        self.next_watts = time.monotonic() + WATTS_EVERY
        try:
            self.watts.append(torch.cuda.power_draw() / 1000)
        except Exception:  # no nvidia-ml-py, or NVML's own error: not asked again, the rest goes on
            self.next_watts = math.inf

    def stop(self) -> None:
        """Stop the clock once the device has finished."""
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        if self.began is not None:
            self.seconds += time.monotonic() - self.began

    def start(self) -> None:
        if self.began is not None:
            self.began = time.monotonic()

    def sums(self, *, since_last: bool) -> Sums:
        """Of all steps until the last `stop`, or of those since the last call with `since_last`."""
        since = self.last if since_last else Lap(0, 0.0, 0)
        if since_last:
            self.last = Lap(self.counts, self.seconds, len(self.watts))
        if not (seconds := self.seconds - since.seconds):
            return NO_SUMS
        useful, computed, scored, *pairs = (self.counts - since.counts).tolist()
        flops = math.nan
        if self.flops:
            flops = useful * self.flops.token + scored * self.flops.scored
            flops += sum(count * each for count, each in zip(pairs, self.flops.pairs.values(), strict=True))
        watts = self.watts[since.watts :] or self.watts[-1:]
        drawn = sum(watts) / len(watts) if watts else math.nan
        return Sums(1, seconds, useful, computed, flops, self.rate or math.nan, drawn)
