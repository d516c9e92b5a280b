"""The base model as it is trained: quantized and frozen, with a LoRA adapter."""

import difflib
from pathlib import Path
from typing import Any

import orjson

from tasks.errors import UserError
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.job import Job
from tasks.training.speed import unpack


def adapted(job: Job) -> Any:
    """The base model, quantized and frozen, with a LoRA adapter: a fresh one, or the champion's."""
    import peft

    from tasks.model import load_base, require_lora

    config = job.config
    model: Any = load_base(job.base, config.model)
    recomputes, unpacked = checkpointing(config, model), False
    if config.model.quantization != "none":
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=recomputes,
            gradient_checkpointing_kwargs={"use_reentrant": False} if recomputes else None,
        )
        unpacked = unpack(config, model)
    _check_targets(model, config.lora.target_modules)
    lora = config.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    shape = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    if job.start:
        require_lora(job.start)
        _check_same_shape(job.start, lora)
        model = peft.PeftModel.from_pretrained(model, str(job.start), config=shape, is_trainable=True)
    else:
        model = peft.get_peft_model(model, shape)
    trained, total = model.get_nb_trainable_parameters()
    base = config.model.quantization + ", unpacked once" * unpacked
    job.tell(
        f"{trained:,} of {total:,} parameters train ({trained / total:.1%}) on {model.device.type}; "
        f"base in {base}, compute in {compute_dtype(config, model)}, "
        f"{model.config._attn_implementation} attention",
    )
    return model


def compute_dtype(config: TrainConfig, model: Any) -> str:
    """Of matrix products; a quantized model's own is that of its norms, which are float32."""
    from tasks import model as models

    return str(models.compute_dtype(config.model, model.device.type)[0]).removeprefix("torch.")


def checkpointing(config: TrainConfig, model: Any) -> bool:
    if config.gradient_checkpointing == "auto":
        return bool(model.device.type == "cuda")
    return config.gradient_checkpointing == "on"


def _check_same_shape(start: Path, lora: LoraConfig) -> None:
    """Refuse to go on from an adapter of another shape; PEFT would leave out what does not fit."""
    champion = orjson.loads((start / "adapter_config.json").read_bytes())
    for name, theirs, ours in (("r", champion["r"], lora.r), ("alpha", champion["lora_alpha"], lora.alpha)):
        if theirs != ours:
            raise UserError(
                f"train.lora.{name} is {ours}, and the champion's adapter, to go on from, has {theirs}",
                f"set train.lora.{name} to {theirs}, or train.start to base",
            )
    if isinstance(lora.target_modules, tuple) and set(champion["target_modules"]) != set(lora.target_modules):
        raise UserError(
            f"train.lora.target_modules differ from the champion's, {', '.join(sorted(champion['target_modules']))}",
            "set them to these, or train.start to base",
        )


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
