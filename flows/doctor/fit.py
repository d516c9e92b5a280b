"""Whether a training fits into memory. A coarse estimate, off by a third either way, and called that."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import orjson

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, gib, note, ok
from flows.doctor.gpu import cards
from flows.doctor.hub import downloaded
from flows.doctor.machine import memory
from flows.doctor.shapes import shapes
from flows.sources import base_model
from tasks.errors import UserError
from tasks.versioning.inputs import HubModel

PACKED = 0.52  # bytes of a weight in 4 bits, with its share of their constants
TRAINED = 16  # bytes of an adapter's weight: itself, its gradient and AdamW's two moments, in float32
LOGIT = 10  # bytes of a logit: in 16 bits, in float32, and its gradient
KEPT = 20  # numbers of 16 bits a token and hidden unit that one layer keeps for its backward pass
OWN = 700 << 20  # bytes that CUDA takes for itself


class Need(NamedTuple):
    """Bytes."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.activations + OWN


def check(config: Retrain) -> Iterator[Finding]:
    folder = _folder(config)
    if folder is None:
        yield note("training needs", "not known before the base model is here")
        return
    need = estimate(config, folder)
    on_gpu = bool(cards()) and config.train.model.device != "cpu"
    room, where = (cards()[0].total, "the GPU") if on_gpu else (memory()[1], "free memory")
    told = (
        f"coarse estimate: {gib(need.total)} of {gib(room)} {where} "
        f"(weights {gib(need.weights)}, adapter {gib(need.adapter)}, activations {gib(need.activations)})"
    )
    smaller = "halve train.batch_size and double train.accumulation, or lower build.max_tokens"
    if need.weights > room:
        yield bad("training needs", told, "take a smaller base model, 4 bits (quantization: nf4), or a larger card")
    elif need.total > room:
        yield note("training needs", told, smaller)
    else:
        yield ok("training needs", told)


def _folder(config: Retrain) -> Path | None:
    """Where the base model lies; None if it is not here, which is told where the base model is looked at."""
    try:
        base = base_model(config.base)
    except UserError:
        return None
    return downloaded(base) if isinstance(base, HubModel) else base.path


def estimate(config: Retrain, folder: Path) -> Need:
    """What a training step holds at its peak, with gradient checkpointing as on a GPU."""
    found = shapes(folder)
    about = orjson.loads((folder / "config.json").read_bytes())
    about = about.get("text_config", about)
    hidden, layers, words = about["hidden_size"], about["num_hidden_layers"], about["vocab_size"]
    wide = 2 if cards() else 4  # bytes: a CPU computes in float32
    narrow = PACKED if config.train.model.quantization != "none" else wide
    # Embeddings, the head and norms are not quantized.
    packed = {name: shape for name, shape in found.items() if len(shape) == 2 and words not in shape}
    whole = sum(prod(shape) for name, shape in found.items() if name not in packed)
    weights = sum(map(prod, packed.values())) * narrow + whole * wide
    rank, targets = config.train.lora.r, config.train.lora.target_modules
    adapted = [s for n, s in packed.items() if isinstance(targets, str) or n.split(".")[-2] in targets]
    adapter = sum(rank * sum(shape) for shape in adapted) * TRAINED
    tokens = config.train.batch_size * config.build.max_tokens
    checkpointed = config.train.gradient_checkpointing != "off"
    per_token = hidden * wide * (layers + KEPT if checkpointed else layers * KEPT) + words * LOGIT
    return Need(round(weights), adapter, tokens * per_token)
