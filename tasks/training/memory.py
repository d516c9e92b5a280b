"""The peak memory of a training step, predicted from the shapes of the base model before anything is loaded.

What autograd keeps was read off the allocator's record of real steps (tests/tasks/training/test_memory.py measures it
again). The peak is in one of two places: in the head's backward pass, when every layer's activations are kept, or a
little later in the backward pass of an MLP, whose gradients come on top, or with DoRA where it computes its norms. The
last layer computes for answers alone (AnswerPositions). All sizes are in bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from tasks.models.model import weight_shapes
from tasks.training.config import TrainConfig
from tasks.training.speedups import by_row_limit

TILE_TOKENS, TILE_WORDS = 4_096, 32_768  # of logits that TRL's fused head computes at once
TILES_ON_A_CPU = 7.25  # float32 and bool tiles that TRL's torch path holds beside the logits; Triton's kernel: none
BLOCK, NESTED = 64, 256  # 4-bit weights per constant; constants per constant of theirs, with double_quant
WORKSPACE = 32 << 20  # cuBLAS's own, on Hopper; 8 MiB before
CONTEXT = 600 << 20  # what CUDA takes outside torch's allocator, kernels included
RESERVE = 0.08  # of the memory: the allocator's fragments, and what others take meanwhile
PAGED_FROM = 100_000  # bitsandbytes pages the optimizer states of matrices with so many weights


class BaseShape(BaseModel, frozen=True):
    """The sizes of a base model that decide about memory."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    linear: dict[str, tuple[int, int]]  # weight's name → (out, in), of all layers: these are quantized
    others: int  # weights of embeddings, head and norms, and biases: these are not
    by_row_limit: float  # tokens, see speedups.by_row_limit


class Step(NamedTuple):
    """A forward and backward pass, and what it computes with."""

    micro_batch: int
    length: int  # tokens of the longest packed sequence
    answers: float  # share of the tokens that the loss is on
    checkpointing: bool
    compute: int  # bytes of a number: 2 or 4
    attention: str
    cuda: bool
    unpacked: bool = False  # 4-bit weights are unpacked once, see speedups.unpack


class Need(NamedTuple):
    """Bytes, by what they are for."""

    weights: int
    adapter: int  # with gradients
    optimizer: int
    activations: int
    head: int  # the head's tiles, or what the last layer takes in the backward pass where that is more
    paged: int = 0  # of the optimizer: in CUDA's managed memory, which torch does not count

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.optimizer + self.activations + self.head

    @property
    def allocated(self) -> int:
        """What `torch.cuda.max_memory_allocated` counts."""
        return self.total - self.paged


class Adapted(NamedTuple):
    """A linear layer with LoRA."""

    name: str
    rows: int  # out
    columns: int  # in
    rank: int
    dora: bool

    @property
    def matrices(self) -> list[int]:
        """The trained weights of each matrix."""
        return [self.rank * self.columns, self.rows * self.rank, *([self.rows] if self.dora else [])]


def shape_of(folder: Path) -> BaseShape | None:
    """Of the base model in a folder; None for an architecture whose config.json lacks what is needed."""
    config = orjson.loads((folder / "config.json").read_bytes())
    config = config.get("text_config", config)
    weights = weight_shapes(folder)
    try:
        hidden, heads, vocab = config["hidden_size"], config["num_attention_heads"], config["vocab_size"]
        linear = {name: shape for name, shape in weights.items() if len(shape) == 2 and vocab not in shape}
        return BaseShape.model_validate(
            {
                "hidden": hidden,
                "layers": config["num_hidden_layers"],
                "heads": heads,
                "kv_heads": config.get("num_key_value_heads") or heads,
                "head_dim": config.get("head_dim") or hidden // heads,
                "inner": config["intermediate_size"],
                "vocab": vocab,
                "linear": linear,
                "others": sum(prod(shape) for name, shape in weights.items() if name not in linear),
                "by_row_limit": by_row_limit(config),
            }
        )
    except (KeyError, TypeError, ValidationError):  # missing, or a list with a value for each layer
        return None


def predict(shape: BaseShape, config: TrainConfig, step: Step) -> Need:
    """The peak of an optimizer step that is not the first: the optimizer's states and older gradients are there."""
    return _Prediction(shape, config, step).need()


@dataclass(frozen=True)
class _Prediction:
    shape: BaseShape
    config: TrainConfig
    step: Step

    def need(self) -> Need:
        step, config = self.step, self.config
        number = 4 if config.adapter_dtype == "float32" else 2
        matrices = [size for layer in self.adapted for size in layer.matrices]
        state = 2 if "8bit" in config.optimizer else 2 * number  # AdamW keeps two values of a weight
        paged = step.cuda and (config.optimizer == "auto" or "paged" in config.optimizer)
        kept, backward = self.activations()
        return Need(
            weights=self.weights(),
            adapter=sum(matrices) * number * 2,
            optimizer=sum(matrices) * state,
            activations=round(kept),
            head=round(max(self.head(), backward)) + (WORKSPACE if step.cuda else 0),
            paged=sum(size for size in matrices if size >= PAGED_FROM) * state if paged else 0,
        )

    @cached_property
    def adapted(self) -> list[Adapted]:
        return list(self._adapted())

    def _adapted(self) -> Iterator[Adapted]:
        lora, targets = self.config.lora, self.config.lora.target_modules
        for name, (rows, columns) in self.shape.linear.items():
            module, rank = name.removesuffix(".weight"), lora.r
            if isinstance(targets, str) or any(f".{module}".endswith(f".{target}") for target in targets):
                if lora.rank_pattern:  # else PEFT need not be imported
                    from peft.utils.other import get_pattern_key

                    rank = lora.rank_pattern.get(get_pattern_key(list(lora.rank_pattern), module), lora.r)
                yield Adapted(module, rows, columns, rank, lora.use_dora)

    @cached_property
    def packed(self) -> bool:
        """Whether weights stay in 4 bits."""
        return self.config.model.quantization != "none" and not self.step.unpacked

    @cached_property
    def residual(self) -> int:
        """Bytes of a number of the residual stream: PEFT casts what is not quantized to float32."""
        return 4 if self.config.model.quantization != "none" else self.step.compute

    @cached_property
    def tokens(self) -> int:
        return self.step.micro_batch * self.step.length

    @cached_property
    def scored(self) -> int:
        """Tokens that the loss is on."""
        return max(1, round(self.tokens * self.step.answers))

    def weights(self) -> int:
        linear = sum(map(prod, self.shape.linear.values()))
        others = self.shape.others * self.residual
        if not self.packed:
            return linear * self.step.compute + others
        constant = 1 + 4 / NESTED if self.config.model.double_quant else 4
        return linear // 2 + round(linear / BLOCK * constant) + others

    def head(self) -> float:
        """Of TRL's fused head, which computes the logits of the answers' tokens tile by tile."""
        hidden, compute = self.shape.hidden, self.step.compute
        rows, words = min(self.scored, TILE_TOKENS), min(self.shape.vocab, TILE_WORDS)
        casts = (rows + words) * hidden * compute if self.residual != compute else 0
        beside = 0.0 if self.step.cuda else rows * words * 4 * TILES_ON_A_CPU
        return rows * TILE_WORDS * compute + casts + beside + self.scored * hidden * (4 + self.residual)

    def activations(self) -> tuple[float, float]:
        """What all layers keep for the backward pass; and what that adds, less what it has released by then."""
        shape, tokens = self.shape, self.tokens
        layer, last = self.layer(tokens), self.layer(self.scored)
        norms = max(map(self.dora_norm, self.adapted), default=0)
        backward, in_last = max(norms, self.mlp_backward(tokens)), max(norms, self.mlp_backward(self.scored))
        mask = tokens**2 if self.step.attention == "sdpa" else 0
        rest = tokens * shape.hidden * 4 + tokens * 2 * shape.head_dim * 4 + mask  # the last norm, rotary embeddings
        inputs = tokens * shape.hidden * self.residual  # of one layer; the norm of the first one needs no gradient
        if self.step.checkpointing:
            return shape.layers * inputs + rest, max(last - inputs + in_last, layer - inputs + backward - inputs)
        return (shape.layers - 1) * layer + last - inputs + rest, max(in_last, backward - last)

    def layer(self, after: int) -> float:
        """What a layer keeps that computes for `after` tokens what follows attention."""
        shape, tokens, compute = self.shape, self.tokens, self.step.compute
        width, masked = shape.heads * shape.head_dim, self.step.attention == "sdpa"
        keys = width if masked else shape.kv_heads * shape.head_dim  # with a mask transformers repeats the keys
        kept: float = tokens * shape.hidden * 2 * 4  # the inputs of the two norms, in float32
        kept += tokens * (2 * width + 2 * keys) * compute + tokens * shape.heads * 4  # attention
        kept += after * 3 * shape.inner * (self.residual if self.packed else compute)  # gate, up and SiLU
        if after < tokens:
            kept += after * width * compute  # the output of attention, gathered
        if masked:
            kept += tokens**2 * compute  # the mask as it is added
        elif self.step.attention == "eager":
            kept += shape.heads * tokens**2 * (4 + compute)
        return kept + self.adapters(after)

    def adapters(self, tokens: int) -> float:
        """What the adapters of a layer keep."""
        compute, dropout = self.step.compute, self.config.lora.dropout > 0
        number = compute  # an input for each, in the compute dtype; with dropout also its mask: CUDA's has a byte
        if dropout:
            number += 1 if self.step.cuda else self.residual
        base_output = self.residual if self.packed else compute
        kept: float = 0
        for each in self.adapted:
            kept += tokens * (each.columns * number + each.rank * compute)
            if each.dora:  # both outputs, and after dropout the base's weights, unpacked for its second product
                kept += tokens * each.rows * (base_output + compute)
                kept += each.rows * each.columns * compute if dropout and self.packed else 0
        kept /= self.shape.layers
        if not dropout and any(each.name.endswith("o_proj") for each in self.adapted):  # attention keeps this input
            kept -= tokens * self.shape.heads * self.shape.head_dim * compute
        return kept

    def mlp_backward(self, tokens: int) -> float:
        """The gradients in the backward pass of down_proj, and that layer's weight, unpacked."""
        shape, compute = self.shape, self.step.compute
        number = self.residual if self.packed else compute
        across = tokens * shape.inner
        weight = shape.hidden * shape.inner * compute if self.packed else 0
        return tokens * shape.hidden * (self.residual + compute) + max(
            across * (3 * number - compute), across * 2 * compute + weight
        )

    def dora_norm(self, layer: Adapted) -> int:
        """DoRA's norm of each row: a unit matrix through the adapter, added to the base's weights."""
        if not layer.dora:
            return 0
        compute = self.step.compute
        unit = layer.columns**2 * (4 + (compute if compute != 4 else 0))
        return unit + layer.rows * layer.columns * (compute + 2 * 4)


def main_memory() -> tuple[int, int]:
    """Bytes of main memory, total and free; in a container with a limit, its own."""
    import psutil

    machine = psutil.virtual_memory()
    cgroup = Path("/sys/fs/cgroup")  # version 2
    try:
        limit = int((cgroup / "memory.max").read_text())
    except (OSError, ValueError):  # another version, or `max`
        return machine.total, machine.available
    if limit >= machine.total:
        return machine.total, machine.available
    used = int((cgroup / "memory.current").read_text())
    return limit, max(0, min(machine.available, limit - used))
