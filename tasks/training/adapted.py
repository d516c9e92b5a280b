"""The base model as it is trained: quantized and frozen, with a LoRA adapter."""

import difflib
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.training.config import MOVE_THE_BASE, LoraConfig, TrainConfig
from tasks.training.faster.attention import attend
from tasks.training.faster.unpacked import unpack, unpacks
from tasks.training.initial import compensate
from tasks.training.job import Job
from tasks.training.processes.distributed import leads, world
from tasks.training.processes.sharded import shard


def adapted(job: Job) -> Any:
    """The base model, quantized and frozen, with a LoRA adapter: a fresh one, or the champion's."""
    import peft

    from tasks.models.model import device_of, load_base, require_lora
    from tasks.training.faster.compiled import compile_between
    from tasks.training.faster.fused import fuse

    config = job.config
    sharded = config.distributed.strategy == "fsdp"
    model: Any = load_base(job.base, config.model, sharded=sharded)
    attend(model, job)
    recomputes, whole = checkpointing(config, model), unpacks(config)
    if config.model.quantization != "none":
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=recomputes,
            gradient_checkpointing_kwargs={"use_reentrant": False} if recomputes else None,
        )
        model = unpack(config, model) if whole else model
    lora = config.lora
    _check_targets(model, lora.target_modules)
    _check_patterns(model, lora)
    _check_head(model, lora)
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    init: Any = True if lora.init in ("default", "loftq") else lora.init
    shape = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=targets,
        task_type="CAUSAL_LM",
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=init,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
    )
    if job.start:
        require_lora(job.start)
        _check_same_shape(job.start, lora)
        model = peft.PeftModel.from_pretrained(model, str(job.start), config=shape, is_trainable=True)
    else:
        model = peft.get_peft_model(model, shape)
        if lora.init == "loftq":
            compensate(model, job.base, config.model)
        if lora.init in MOVE_THE_BASE and leads():
            # As PEFT took it out of the base: before a trainer casts it, and made again the same in a resumed training.
            model.save_pretrained(str(job.initial))
    fuse(model)
    if config.compile:
        compile_between(model)
    trained, total = model.get_nb_trainable_parameters()
    base = config.model.quantization + ", unpacked once" * whole
    if sharded:
        base += f", {shard(model, device_of(config.model)):.0%} of it in each of {world()} processes"
    job.tell(
        f"{trained:,} of {total:,} parameters train ({trained / total:.1%}) on {model.device.type}; "
        f"base in {base}, compute in {compute_dtype(config, model)}, "
        f"{model.config._attn_implementation} attention" + ", compiled between products" * config.compile,
    )
    return model


def compute_dtype(config: TrainConfig, model: Any) -> str:
    """Of matrix products; a quantized model's own is that of its norms, which are float32."""
    from tasks.models.model import compute_dtype as chosen

    return str(chosen(config.model, model.device.type)[0]).removeprefix("torch.")


def checkpointing(config: TrainConfig, model: Any) -> bool:
    if config.gradient_checkpointing == "auto":
        return bool(model.device.type == "cuda")
    return config.gradient_checkpointing == "on"


def _check_same_shape(start: Path, lora: LoraConfig) -> None:
    """Refuse to go on from an adapter of another shape or scale; PEFT would leave out what does not fit."""
    champion = orjson.loads((start / "adapter_config.json").read_bytes())
    settings = (
        ("r", champion["r"], lora.r),
        ("alpha", champion["lora_alpha"], lora.alpha),
        ("use_rslora", champion.get("use_rslora", False), lora.use_rslora),
        ("use_dora", champion.get("use_dora", False), lora.use_dora),
        ("rank_pattern", champion.get("rank_pattern") or {}, dict(lora.rank_pattern)),
        ("alpha_pattern", champion.get("alpha_pattern") or {}, dict(lora.alpha_pattern)),
    )
    for name, theirs, ours in settings:
        if theirs != ours:
            raise UserError(
                f"train.lora.{name} is {_yaml(ours)}, and the champion's adapter, to go on from, has {_yaml(theirs)}",
                f"set train.lora.{name} to {_yaml(theirs)}, or train.start to base",
            )
    if isinstance(lora.target_modules, tuple) and set(champion["target_modules"]) != set(lora.target_modules):
        raise UserError(
            f"train.lora.target_modules differ from the champion's, {', '.join(sorted(champion['target_modules']))}",
            "set them to these, or train.start to base",
        )


def _yaml(value: Any) -> str:
    return orjson.dumps(value).decode()


def _check_targets(model: Any, targets: str | tuple[str, ...]) -> None:
    """Refuse a target module that the model has not; PEFT would train on the rest without a word."""
    import torch

    if isinstance(targets, str):
        if targets != "all-linear":
            raise UserError(
                f"train.lora.target_modules is {targets!r}",
                "write all-linear, or a list of layer names such as [q_proj, v_proj]",
            )
        return
    linear = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for target in targets:
        if target.rpartition(".")[2] not in linear:
            near = difflib.get_close_matches(target, linear, 1)
            raise UserError(
                f"train.lora.target_modules names {target!r}, which this model has not"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                f"choose from {', '.join(sorted(linear - {'lm_head'}))}, or all-linear",
            )


def _check_patterns(model: Any, lora: LoraConfig) -> None:
    """Refuse a rank or an alpha for a layer that is not adapted; PEFT would give it to none without a word."""
    import torch
    from peft.utils.other import get_pattern_key

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if isinstance(lora.target_modules, str):
        adapted = [name for name in linear if name != "lm_head"]
    else:
        adapted = [n for n in linear if any(f".{n}".endswith(f".{target}") for target in lora.target_modules)]
    short = sorted({name.rpartition(".")[2] for name in adapted})
    for field, pattern in (("rank_pattern", lora.rank_pattern), ("alpha_pattern", lora.alpha_pattern)):
        for key in pattern:
            # Where no key fits PEFT's function returns the layer's name.
            if not any(get_pattern_key([f"({key})"], name) != name for name in adapted):
                near = difflib.get_close_matches(key, [*short, *adapted], 1)
                raise UserError(
                    f"train.lora.{field} names {key!r}, which is no adapted layer"
                    + (f"; did you mean {near[0]!r}?" if near else ""),
                    f"choose from {', '.join(short)}, or longer names such as {adapted[0]}",
                )


def _check_head(model: Any, lora: LoraConfig) -> None:
    """Refuse to move weights that the embeddings share."""
    targets = () if isinstance(lora.target_modules, str) else lora.target_modules
    if lora.init in MOVE_THE_BASE and "lm_head" in targets and model.config.tie_word_embeddings:
        raise UserError(
            f"train.lora.init {lora.init} would move lm_head's weights, which this model's embeddings share",
            "leave lm_head out of train.lora.target_modules, or set train.lora.init to default",
        )
