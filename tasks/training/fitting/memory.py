"""How much memory a training step takes at its peak, told from shapes before anything is loaded.

What autograd keeps was read off real steps with the allocator's own record (tests/tasks/training/test_memory.py).
The peak is at one of two places: in the head's backward pass, when every layer's activations are there, or a little
later in that of an MLP, whose gradients come on top, or with DoRA where it makes its norms. The last layer's is for
answers alone (answers.py). All sizes are bytes.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import orjson

from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.faster.attention import BY_ROW, reach
from tasks.training.fitting.shapes import shapes

TILE_WORDS = 32_768  # of the vocabulary in a tile of logits: trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
TILE_TOKENS = 4_096  # tokens in one: trl.kernels.chunked_logprob.TOKEN_CHUNK_SIZE
TILES_ON_A_CPU = 7.25  # float32 and bool tiles that TRL's torch path holds beside the logits; Triton's kernel: none
BLOCK, NESTED = 64, 256  # weights under one constant; constants under one constant of theirs
TABLES = 4 * (16 + 256) + 4  # of a 4-bit layer: its code, that of its constants, their mean
WORKSPACE = 32 << 20  # cuBLAS's own, on Hopper; 8 MiB before
CONTEXT = 600 << 20  # what CUDA takes outside torch's allocator, kernels included
RESERVE = 0.08  # of a card: the allocator's fragments, and what others draw there
STATES = {"8bit": 2, "32bit": 8}  # bytes that AdamW keeps of a weight


class Shape(NamedTuple):
    """What of a base model decides about memory."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    linear: dict[str, tuple[int, int]]  # weight's name → (out, in), in all layers: these are quantized
    others: int  # weights of embeddings, head and norms, and biases: these are not
    reach: float  # tokens of a row that may attend by row, see attention.py


class Step(NamedTuple):
    """A forward and backward pass, and what it computes with."""

    micro_batch: int
    length: int  # tokens of the longest packed sequence
    answers: float  # share of the tokens that the loss is on
    checkpointing: bool
    compute: int  # bytes of a number: 2 or 4
    attention: str
    cuda: bool
    unpacked: bool = False  # 4-bit weights are unpacked once, see unpacked.py


class Adapted(NamedTuple):
    """A linear layer that is adapted."""

    rows: int  # out
    columns: int  # in
    rank: int
    scaled: bool  # by DoRA's magnitudes

    @property
    def matrices(self) -> list[int]:
        """Weights of each that trains."""
        return [self.rank * self.columns, self.rows * self.rank, *([self.rows] if self.scaled else [])]


Layers = dict[str, Adapted]  # by weight's name


class Need(NamedTuple):
    """Bytes, by what they are for."""

    weights: int
    adapter: int  # with gradients
    optimizer: int
    activations: int
    head: int  # the head's tiles, or what the last layer takes on the way back where that is more
    paged: int = 0  # of the optimizer: in CUDA's managed memory, which torch does not count

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.optimizer + self.activations + self.head

    @property
    def allocated(self) -> int:
        """What `torch.cuda.max_memory_allocated` counts."""
        return self.total - self.paged


def shape_of(folder: Path) -> Shape | None:
    """Of the base model in a folder; None for an architecture whose config does not tell what is needed."""
    about = orjson.loads((folder / "config.json").read_bytes())
    about = about.get("text_config", about)
    try:
        hidden, heads, vocab = about["hidden_size"], about["num_attention_heads"], about["vocab_size"]
        found = shapes(folder)
        linear = {name: each for name, each in found.items() if len(each) == 2 and vocab not in each}
        return Shape(
            hidden=hidden,
            layers=about["num_hidden_layers"],
            heads=heads,
            kv_heads=about.get("num_key_value_heads") or heads,
            head_dim=about.get("head_dim") or hidden // heads,
            inner=about["intermediate_size"],
            vocab=vocab,
            linear={name: (rows, columns) for name, (rows, columns) in linear.items()},
            others=sum(prod(each) for name, each in found.items() if name not in linear),
            reach=reach(about),
        )
    except KeyError:
        return None


def predict(shape: Shape, config: TrainConfig, step: Step) -> Need:
    """The peak of a step of training, once the optimizer's states are there and gradients of a pass before."""
    quantized = config.model.quantization != "none"
    adapted = dict(_adapted(shape, config.lora))
    trained = sum(sum(each.matrices) for each in adapted.values())
    stream = 4 if quantized else step.compute  # PEFT has what is not quantized, and with it the residual, in float32
    kept, behind = _kept(shape, adapted, config, step, stream)
    head = _in_head(shape, step, stream)
    wide = 4 if config.adapter_dtype == "float32" else 2
    states = trained * STATES["8bit" if "8bit" in config.optimizer else "32bit"]
    paged = step.cuda and (config.optimizer == "auto" or "paged" in config.optimizer)
    return Need(
        weights=_weights(shape, config, step, stream),
        adapter=trained * wide * 2,
        optimizer=states * wide // 4 if "8bit" not in config.optimizer else states,
        activations=round(kept),
        head=round(max(head, behind)) + (WORKSPACE if step.cuda else 0),
        paged=_paged(config, adapted) if paged else 0,
    )


def _weights(shape: Shape, config: TrainConfig, step: Step, stream: int) -> int:
    linear = sum(map(prod, shape.linear.values()))
    if step.unpacked:
        return linear * step.compute + shape.others * stream
    if config.model.quantization == "none":
        return (linear + shape.others) * stream
    constants = linear // BLOCK
    constants = constants + 4 * constants // NESTED if config.model.double_quant else 4 * constants
    return linear // 2 + constants + len(shape.linear) * TABLES + shape.others * stream


def _adapted(shape: Shape, lora: LoraConfig) -> Iterator[tuple[str, Adapted]]:
    targets = lora.target_modules
    for name, (rows, columns) in shape.linear.items():
        module = name.removesuffix(".weight")
        if isinstance(targets, str) or any(module == one or module.endswith(f".{one}") for one in targets):
            yield name, Adapted(rows, columns, _rank(module, lora), lora.use_dora)


def _rank(module: str, lora: LoraConfig) -> int:
    if not lora.rank_pattern:  # then PEFT, and all that it imports, need not be asked
        return lora.r
    from peft.utils.other import get_pattern_key

    return lora.rank_pattern.get(get_pattern_key(list(lora.rank_pattern), module), lora.r)


def _paged(config: TrainConfig, adapted: Layers) -> int:
    """bitsandbytes pages the states of matrices of 100,000 weights and more."""
    sides = [side for each in adapted.values() for side in each.matrices]
    return sum(side for side in sides if side >= 100_000) * STATES["8bit" if "8bit" in config.optimizer else "32bit"]


def _kept(shape: Shape, adapted: Layers, config: TrainConfig, step: Step, stream: int) -> tuple[float, float]:
    """Of all layers until the backward pass; and what comes on top in it, less what is free by then."""
    tokens = step.micro_batch * step.length
    masked = step.attention == "sdpa"
    scored = _scored(step) if _is_llama(shape) else tokens
    layer, last = (_layer(shape, adapted, config, step, stream, each) for each in (tokens, scored))
    norms = max((_in_norms(each, step) for each in adapted.values()), default=0)
    ahead, in_last = (max(norms, _in_mlp(shape, adapted, config, step, stream, each)) for each in (tokens, scored))
    rest = tokens * shape.hidden * 4 + tokens * 2 * shape.head_dim * 4 + (tokens**2 if masked else 0)
    taken = tokens * shape.hidden * stream  # what a layer takes; of the first one the norm needs no gradient
    if step.checkpointing:
        kept = shape.layers * taken + rest
        return kept, max(last - taken + in_last, layer - taken + ahead - taken if shape.layers > 1 else 0)
    return (shape.layers - 1) * layer + last - taken + rest, max(in_last, ahead - last if shape.layers > 1 else 0)


def _is_llama(shape: Shape) -> bool:
    """Whether layers have modules of the names by which answers.py knows what is behind attention."""
    return all(any(name.endswith(f"{each}.weight") for name in shape.linear) for each in ("o_proj", "mlp.down_proj"))


def _scored(step: Step) -> int:
    return max(1, round(step.micro_batch * step.length * step.answers))


def _layer(shape: Shape, adapted: Layers, config: TrainConfig, step: Step, stream: int, behind: int) -> float:
    """Of one layer, which computes for so many tokens `behind` attention."""
    tokens, narrow = step.micro_batch * step.length, step.compute
    attended = shape.heads * shape.head_dim
    before = {name: each for name, each in adapted.items() if name.rpartition(".")[2] in ("q_proj", "k_proj", "v_proj")}
    after = {name: each for name, each in adapted.items() if name not in before}
    layer: float = tokens * shape.hidden * 2 * 4  # what the two norms take, in float32
    for some, so_many in ((before, tokens), (after, behind)):
        inputs = _inputs(shape, some, config, step, stream)
        layer += so_many * (inputs + sum(each.rank for each in some.values()) / shape.layers * narrow)
        # For the gradient of its magnitudes DoRA keeps what the base gave, and what the adapter did.
        given = (narrow if step.unpacked else stream) + narrow
        layer += so_many * sum(given * each.rows for each in some.values() if each.scaled) / shape.layers
    if config.lora.dropout and _packed(config, step):  # and behind dropout the base once more, its weights unpacked
        layer += sum(each.rows * each.columns * narrow for each in adapted.values() if each.scaled) / shape.layers
    masked = step.attention == "sdpa"
    keys = attended if masked else shape.kv_heads * shape.head_dim  # with a mask transformers repeats the keys
    in_rows = step.attention == BY_ROW and not step.cuda
    layer += tokens * (attended + 2 * keys) * narrow + tokens * shape.heads * 4
    layer += (behind if in_rows else tokens) * attended * narrow
    layer += behind * 3 * shape.inner * _out(adapted, step, stream)  # gate, up and SiLU
    if any("o_proj" in name for name in after) and (in_rows or behind < tokens):
        layer += behind * attended * narrow  # what was attended to, in one piece
    if masked:
        layer += tokens**2 * narrow  # the mask as it is added
    elif step.attention == "eager":
        layer += shape.heads * tokens**2 * (4 + narrow)
    return layer


def _inputs(shape: Shape, adapted: Layers, config: TrainConfig, step: Step, stream: int) -> float:
    """Per token and layer, what the adapter's matrices are given, and keep."""
    each = sum(one.columns for one in adapted.values()) / shape.layers
    if config.lora.dropout:  # a copy for each, and what dropout drew: CUDA has bools, a CPU numbers
        return each * (step.compute + (1 if step.cuda else stream))
    # The output of attention, which o_proj takes, is kept by attention.
    there = shape.heads * shape.head_dim * any("o_proj" in name for name in adapted)
    if stream != step.compute:  # each has a copy of its own in the compute dtype
        return (each - there) * step.compute
    shared = {(name.rsplit(".", 3)[-3], one.columns) for name, one in adapted.items() if "o_proj" not in name}
    return sum(columns for _, columns in shared) * step.compute  # one for q, k and v, one for gate and up


def _in_head(shape: Shape, step: Step, stream: int) -> float:
    """TRL's fused head makes a tile of logits at a time, of the answers' tokens."""
    scored = _scored(step)
    rows, words = min(scored, TILE_TOKENS), min(shape.vocab, TILE_WORDS)
    tile = rows * TILE_WORDS * step.compute
    casts = (rows + words) * shape.hidden * step.compute if stream != step.compute else 0
    own = 0.0 if step.cuda else rows * words * 4 * TILES_ON_A_CPU
    return tile + casts + own + scored * shape.hidden * (4 + stream)


def _out(adapted: Layers, step: Step, stream: int) -> int:
    """Bytes of a number that gate and up give: bitsandbytes' cast it to what they were given, if not adapted."""
    if any(each.scaled for name, each in adapted.items() if "gate_proj" in name):
        return 4
    return step.compute if step.unpacked or any("gate_proj" in name for name in adapted) else stream


def _in_mlp(shape: Shape, adapted: Layers, config: TrainConfig, step: Step, stream: int, tokens: int) -> float:
    """The gradients on the way through down_proj, and that layer's weight, dequantized."""
    grads = tokens * shape.hidden * (stream + (step.compute if stream != step.compute else 0))
    across = tokens * shape.inner
    weight = shape.hidden * shape.inner * step.compute if _packed(config, step) else 0
    if stream == step.compute:
        return grads + across * stream + max(across * stream, weight)
    return grads + max(across * (3 * _out(adapted, step, stream) - step.compute), across * 2 * step.compute + weight)


def _in_norms(layer: Adapted, step: Step) -> int:
    """How DoRA comes to the norm of each row: a unit matrix through the adapter, added to the base's weights."""
    if not layer.scaled:
        return 0
    unit = layer.columns**2 * (4 + (step.compute if step.compute != 4 else 0))
    return unit + layer.rows * layer.columns * (step.compute + 2 * 4)


def _packed(config: TrainConfig, step: Step) -> bool:
    return config.model.quantization != "none" and not step.unpacked
