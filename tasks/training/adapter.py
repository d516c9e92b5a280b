"""The base model as it is trained: quantized and frozen, with a LoRA adapter."""

import difflib
import re
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.engine.storage.objects import apply_umask
from tasks.models.composition import composition, expert_weights
from tasks.models.model import ModelConfig, compute_dtype, load_base, unpack
from tasks.training.config import INITS_THAT_CHANGE_BASE, LoraConfig, TrainConfig
from tasks.training.distributed import is_leader, shard_base, world_size
from tasks.training.job import Job
from tasks.training.selfcheck import is_near, model_loss
from tasks.training.speedups import may_unpack, set_attention

LOFTQ_ITERATIONS = 16  # of the randomized SVD: quantization errors are almost noise, their singular values fall slowly
OVERSAMPLING = 16


def load_with_adapter(job: Job) -> Any:
    """The base model, quantized and frozen, with a fresh LoRA adapter or the champion's."""
    import peft

    from tasks.models.model import require_lora

    config, lora = job.config, job.config.lora
    sharded = config.distributed.strategy == "fsdp"
    model: Any = load_base(job.base, config.model, sharded=sharded)
    set_attention(model, job)
    recompute, unpacks = uses_checkpointing(config, model), may_unpack(config)
    made_of = composition(model)
    if config.model.quantization != "none":
        _freeze(model)
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if unpacks:
            dtype = compute_dtype(config.model, model.device.type)
            before = model_loss(model, dtype)
            model = unpack(model, dtype)
            if not is_near(before, model_loss(model, dtype)):
                job.say("the self-check finds another loss; off: unpacking of 4-bit weights")
                return load_with_adapter(job.with_config(speed="plain"))
    _check_layers(model, lora)
    shape = peft_config(lora)
    if lora.target_modules == "all-linear":
        shape.exclude_modules = _excluded(model)
    if job.start:
        require_lora(job.start)
        _check_same_shape(job.start, shape)
        model = peft.PeftModel.from_pretrained(model, str(job.start), config=shape, is_trainable=True)
    else:
        model = peft.get_peft_model(model, shape)
        if lora.init == "loftq":
            _start_as_quantization_error(model, job.base, config.model)
        if lora.init in INITS_THAT_CHANGE_BASE and is_leader():
            # As PEFT subtracted it, before a trainer casts it; a resumed training computes the same again.
            model.save_pretrained(str(job.initial))
            apply_umask(job.initial)
    if lora.use_dora:
        _check_magnitudes(model)
    trained, total = model.get_nb_trainable_parameters()
    base = config.model.quantization + ", unpacked once" * unpacks
    if sharded:
        base += f", {shard_base(model, model.device.type):.0%} of it in each of {world_size()} processes"
    computes = str(compute_dtype(config.model, model.device.type)).removeprefix("torch.")
    job.say(
        f"{trained:,} of {total:,} parameters train ({trained / total:.1%}) on {model.device.type}; base in {base}, "
        f"compute in {computes}, {model.config._attn_implementation} attention"
    )
    if made_of.experts:
        adapted = "adapted" if lora.target_parameters else "frozen; train.lora.target_parameters would adapt them"
        job.say(
            f"{made_of.experts / made_of.total:.0%} of the weights are experts, in "
            f"{next(iter(expert_weights(model).values())).dtype}: not quantized, {adapted}"
        )
    return model


def _freeze(model: Any) -> None:
    """As PEFT's `prepare_model_for_kbit_training`, which would make experts float32, too, four bytes a weight."""
    import torch

    for weight in model.parameters():
        weight.requires_grad = False
        half = weight.dtype in (torch.bfloat16, torch.float16) and type(weight).__name__ != "Params4bit"
        if half and weight.ndim < 3:
            weight.data = weight.data.float()
    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def _check_magnitudes(model: Any) -> None:
    """Refuse DoRA on outputs without weights: their direction is 0 / 0."""
    for name, module in model.named_modules():
        if name.endswith("lora_magnitude_vector.default") and not bool(module.weight.all()):
            layer = name.removesuffix(".lora_magnitude_vector.default").removeprefix("base_model.model.")
            count = int((module.weight == 0).sum())
            raise UserError(
                f"train.lora.use_dora: {count} outputs of {layer} have only zeros for weights, and no direction",
                "set train.lora.use_dora to false, or leave that layer out of train.lora.target_modules",
            )


def peft_config(lora: LoraConfig) -> Any:
    import peft

    init: Any = True if lora.init in ("default", "loftq") else lora.init
    return peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        target_parameters=list(lora.target_parameters) or None,
        task_type="CAUSAL_LM",
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=init,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
    )


def _excluded(model: Any) -> str | None:
    """What all-linear leaves out, as a regular expression: the parts that read pictures or sound; Mamba's out_proj.

    The kernels of Mamba read that layer's weights themselves, past an adapter.
    """
    import torch

    decoder, head = model.get_decoder(), model.get_output_embeddings()
    within = next((name for name, module in model.named_modules() if module is decoder), "")
    depth = within.count(".") + 1
    patterns = set()
    for name, module in model.named_modules():
        if hasattr(module, "A_log") and hasattr(module, "D"):
            patterns.add(re.sub(r"\b\d+\b", r"\\d+", re.escape(f"{name}.out_proj")))
        elif isinstance(module, torch.nn.Linear) and module is not head and not f"{name}.".startswith(f"{within}."):
            patterns.add(re.escape(".".join(name.split(".")[:depth])) + r"\..*")
    return "|".join(sorted(patterns)) or None


def uses_checkpointing(config: TrainConfig, model: Any) -> bool:
    if config.gradient_checkpointing == "auto":
        return bool(model.device.type == "cuda")
    return config.gradient_checkpointing == "on"


def _start_as_quantization_error(model: Any, base: Path, config: ModelConfig) -> None:
    """LoftQ: set A and B so that scale · B A is the best rank-r part of (weight - quantized weight).

    Reads the whole base once more, on the CPU in bfloat16 (2 bytes a weight). PEFT's `replace_lora_weights_loftq` runs
    on a GPU only, and ignores the scale: with alpha 32 and r 16 it would add twice the error.
    """
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    published = config.model_copy(update={"quantization": "none", "device": "cpu", "compute_dtype": "bfloat16"})
    original = load_base(base, published)
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        quantized = dequantize_module_weight(layer.get_base_layer()).float()
        weight: Any = original.get_submodule(name).weight
        error = weight.to(quantized) - quantized
        rank, scale = layer.r["default"], layer.scaling["default"]
        u, s, v = torch.svd_lowrank(error, min(rank + OVERSAMPLING, *error.shape), niter=LOFTQ_ITERATIONS)
        root = (s[:rank] / scale).sqrt()
        lora_a: Any = layer.lora_A["default"]
        lora_b: Any = layer.lora_B["default"]
        a, b = lora_a.weight, lora_b.weight
        a.data[: len(root)] = (root[:, None] * v[:, :rank].T).to(a.dtype)
        b.data[:, : len(root)] = (u[:, :rank] * root).to(b.dtype)


def _check_same_shape(start: Path, shape: Any) -> None:
    """Refuse to continue from an adapter of another shape or scale; PEFT would leave out what does not fit."""
    import peft

    champion = peft.LoraConfig.from_pretrained(str(start))
    for name in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"):
        theirs, ours = getattr(champion, name), getattr(shape, name)
        if theirs != ours:
            field = f"train.lora.{name.removeprefix('lora_')}"
            raise UserError(
                f"{field} is {_yaml(ours)}, but the champion's adapter has {_yaml(theirs)}",
                f"set {field} to {_yaml(theirs)}, or train.start to base",
            )
    if not isinstance(shape.target_modules, str) and champion.target_modules != shape.target_modules:
        raise UserError(
            f"train.lora.target_modules differ from the champion's, {', '.join(sorted(champion.target_modules))}",
            "set them to these, or train.start to base",
        )


def _yaml(value: Any) -> str:
    return orjson.dumps(value).decode()


def _check_layers(model: Any, lora: LoraConfig) -> None:
    """Refuse names that fit no layer, and shared weights; PEFT would ignore them silently."""
    import torch

    targets = lora.target_modules
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if isinstance(targets, str) and targets != "all-linear":
        raise UserError(
            f"train.lora.target_modules is {targets!r}",
            "write all-linear, or a list of layer names such as [q_proj, v_proj]",
        )
    if isinstance(targets, str):
        adapted, targets = [name for name in linear if name != "lm_head"], ()
    else:
        adapted = [name for name in linear if any(_fits(re.escape(target), name) for target in targets)]
    stacked = list(expert_weights(model))
    for field, names, layers in (
        ("target_parameters", lora.target_parameters, stacked),
        ("target_modules", targets, linear),
        ("rank_pattern", lora.rank_pattern, adapted),
        ("alpha_pattern", lora.alpha_pattern, adapted),
    ):
        short = sorted({layer.rpartition(".")[2] for layer in layers})
        for name in names:
            pattern = re.escape(name) if layers is linear or layers is stacked else name
            if not layers:
                raise UserError(f"train.lora.{field} names {name!r}, and this model has none", "leave it out")
            if not any(_fits(pattern, layer) for layer in layers):
                near = difflib.get_close_matches(name, [*short, *layers], 1)
                raise UserError(
                    f"train.lora.{field} names {name!r}, which fits no {'adapted ' * (layers is adapted)}layer"
                    + (f"; did you mean {near[0]!r}?" if near else ""),
                    f"choose from {', '.join(short)}, or longer names such as {layers[0]}",
                )
    if lora.init in INITS_THAT_CHANGE_BASE and "lm_head" in targets and model.config.tie_word_embeddings:
        raise UserError(
            f"train.lora.init {lora.init} would change lm_head's weights, which this model's embeddings share",
            "leave lm_head out of train.lora.target_modules, or set train.lora.init to default",
        )


def _fits(pattern: str, layer: str) -> bool:
    """As PEFT matches: the whole name of a layer, or its end."""
    return re.fullmatch(rf"(.*\.)?({pattern})", layer) is not None
