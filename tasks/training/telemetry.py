"""What a training costs: tokens a second, the share of the device's matrix rate that the model uses (MFU), watts.

FLOPs are the model's, after PaLM (Chowdhery et al. 2022, appendix B), for an adapter beside a frozen base. A matrix
product takes 2 FLOPs per weight and token; trained weights take 6 (forward, their gradient, the input's gradient),
frozen ones 4, as they have no gradient. Attention takes 12 × heads × head size in each layer for each pair of a token
and one that it sees: causal, within its row and within a sliding window. The head, and what the last layer computes for
answers alone (AnswerPositions), count for the tokens that the loss is on. Not counted, so that they lower MFU: padding,
masks, and activations that checkpointing recomputes; nor embeddings, norms and the optimizer, which are no matrix
products.
"""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from tasks.data.dataset.folder import IGNORED

T = TypeVar("T")
BUDGET = 0.1  # seconds of matrix products to measure a rate by
SIZES = {"cpu": 512, "cuda": 8192}  # of the square matrices; two of the large ones take 256 MiB in 16 bits
# Fields of models in which not every weight works on each token.
SPARSE = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")
KINDS = {"full_attention", "sliding_attention"}


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
    """The device's FLOPs a second in large square matrix products, measured for a tenth of a second; no table of cards.

    The numbers are random, as equal ones draw less power and run faster; their own generator leaves the seeded stream
    alone. The memory is released and is not part of the peak.
    """
    import torch
    from torch.utils.benchmark import Timer

    size = SIZES[device]
    generator = torch.Generator(device).manual_seed(0)
    matrix = torch.rand(size, size, generator=generator, device=device, dtype=dtype)
    out = matrix @ matrix
    timer = Timer(
        "torch.mm(matrix, matrix, out=out)",
        globals={"torch": torch, "matrix": matrix, "out": out},
        num_threads=torch.get_num_threads(),
    )
    seconds = min(timer.blocked_autorange(min_run_time=BUDGET).times)
    if device == "cuda":
        del matrix, out, timer
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return float(2 * size**3 / seconds)


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


class Meter:
    """Counts tokens and FLOPs of optimizer steps, and their seconds: the clock stands between `stop` and `start`.

    Counting does not wait for the device. Without `rate`, the device's FLOPs a second, or `flops` there is no MFU.
    """

    def __init__(self, flops: Flops | None, rate: float | None) -> None:
        self.flops = flops
        self.rate = rate
        self.counts: Any = 0  # a tensor on the device: useful, computed and scored tokens, pairs by window
        self.seconds = 0.0
        self.began: float | None = None  # when the clock last began to run
        self.watts: list[float] = []
        self.last: tuple[Any, float] = (0, 0.0)  # counts and seconds when `sums` was last asked

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

    def stop(self) -> None:
        """Stop the clock once the device has finished, and read what it draws."""
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            with contextlib.suppress(Exception):  # it takes nvidia-ml-py, which is not a dependency; NVML's own errors
                self.watts.append(torch.cuda.power_draw() / 1000)  # the driver's mean over up to a second
        if self.began is not None:
            self.seconds += time.monotonic() - self.began

    def start(self) -> None:
        if self.began is not None:
            self.began = time.monotonic()

    def sums(self, *, since_last: bool) -> Sums:
        """Of all steps until the last `stop`, or of those since the last call with `since_last`."""
        counts, seconds = self.last if since_last else (0, 0.0)
        if since_last:
            self.last = (self.counts, self.seconds)
        if self.seconds == seconds:
            return NO_SUMS
        useful, computed, scored, *pairs = (self.counts - counts).tolist()
        flops = math.nan
        if self.flops:
            flops = useful * self.flops.token + scored * self.flops.scored
            flops += sum(count * each for count, each in zip(pairs, self.flops.pairs.values(), strict=True))
        watts = self.watts[-1:] if since_last else self.watts
        drawn = sum(watts) / len(watts) if watts else math.nan
        return Sums(1, self.seconds - seconds, useful, computed, flops, self.rate or math.nan, drawn)
