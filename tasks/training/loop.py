"""The training child: ``python -m tasks.training.loop job.json PARENT``.

Loads the base model in 4 bits, puts a LoRA adapter on it, trains with TRL's SFTTrainer, and writes the adapter.
"""

import contextlib
import ctypes
import difflib
import math
import os
import signal
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import orjson

from tasks.errors import UserError
from tasks.training.checkpoints import last_whole, step_of
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.fit import OutOfMemory, fit_of, out_of_memory
from tasks.training.job import Job

# What of the log is the recipe's doing. The rest (runtimes, token counts, the mean loss of this process) depends on the
# hour, or starts anew after a resume.
CURVES = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "entropy")
KEPT = {"step", "epoch", *CURVES, *(f"eval_{name}" for name in CURVES)}
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


def main(told: Path, parent: int) -> None:
    _die_with(parent)
    job = Job.model_validate_json(told.read_bytes())
    try:
        _run(job)
    except UserError as error:
        memory = isinstance(error, OutOfMemory)
        job.failure.write_bytes(orjson.dumps({"what": error.what, "remedy": error.remedy, "out_of_memory": memory}))
        raise SystemExit(2) from error


def _die_with(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent ends, however it ends; no orphan may hold the GPU."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            raise SystemExit(1)


def _run(job: Job) -> None:
    import torch
    from transformers import set_seed

    from tasks.dataset.folder import load
    from tasks.model import load_tokenizer

    began = time.monotonic()
    set_seed(job.config.seed)
    checkpoint = last_whole(job.checkpoints)
    if checkpoint:
        _say(job, f"resuming from {checkpoint.name}")
    train = load(job.train, replay=job.config.replay, seed=job.config.seed)
    if not len(train):
        raise UserError("no row is new since the champion", "raise train.replay above 0, or set train.start: base")
    heldout = load(job.heldout) if job.heldout else None
    tokenizer = load_tokenizer(job.base)
    with _model_explained(job.config):
        trainer = _trainer(job, _adapted(job), tokenizer, train, heldout or None)
    with _explained(job):
        if trainer.eval_dataset is not None and checkpoint is None:
            trainer.evaluate()
        start, resumed_at = time.monotonic(), step_of(checkpoint) if checkpoint else 0
        if not (checkpoint and _taken_as_end(checkpoint, trainer)):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.monotonic() - start
        if trainer.eval_dataset is not None and not _evaluated(job, trainer.state.global_step):
            trainer.evaluate()
    lengths = [length for row in train.with_format(None)["seq_lengths"] for length in row]
    _save(job, trainer, examples=len(lengths))
    done = 1 - resumed_at / trainer.state.global_step
    tokens = sum(lengths) * trainer.state.epoch * done
    peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else _peak_rss()
    measured = {
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds),
        "peak_mib": round(peak),
        "micro_batch": fit_of(job).micro_batch,
    }
    if torch.cuda.is_available():
        measured["gpu_seconds"] = round((time.monotonic() - began) * trainer.args.world_size, 1)
    (job.work / "measured.json").write_bytes(orjson.dumps(measured))


def _taken_as_end(checkpoint: Path, trainer: Any) -> bool:
    """Take the adapter of a checkpoint behind the last step; false if there are steps left.

    A trainer that resumes from there in the middle of an epoch would do one more.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < state.max_steps:
        return False
    trainer.model.load_adapter(str(checkpoint), "default", is_trainable=True)
    trainer.state = state
    return True


def _evaluated(job: Job, step: int) -> bool:
    """Whether the log has the held-out loss after this step, be it from a run that was killed behind it."""
    lines = map(orjson.loads, job.metrics.read_bytes().splitlines())
    return any("eval_loss" in line and line["step"] == step for line in lines)


def _adapted(job: Job) -> Any:
    """The base model, quantized and frozen, with a LoRA adapter: a fresh one, or the champion's."""
    import peft

    from tasks.model import load_base, require_lora

    config = job.config
    model: Any = load_base(job.base, config.model)
    checkpointing = _checkpointing(config, model)
    if config.model.quantization != "none":
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        )
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
    _say(
        job,
        f"{trained:,} of {total:,} parameters train ({trained / total:.1%}) on {model.device.type}; "
        f"base in {config.model.quantization}, compute in {_compute_dtype(model)}, "
        f"{model.config._attn_implementation} attention",
    )
    return model


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


def _compute_dtype(model: Any) -> str:
    dtype = getattr(getattr(model.config, "quantization_config", None), "bnb_4bit_compute_dtype", model.dtype)
    return str(dtype).removeprefix("torch.")


def _checkpointing(config: TrainConfig, model: Any) -> bool:
    if config.gradient_checkpointing == "auto":
        return bool(model.device.type == "cuda")
    return config.gradient_checkpointing == "on"


def _trainer(job: Job, model: Any, tokenizer: Any, train: Any, heldout: Any) -> Any:
    import torch
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from tasks.training.callbacks import SealCheckpoints, WriteMetrics

    config, fit = job.config, fit_of(job)
    cuda = model.device.type == "cuda"
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "paged_adamw_32bit" if cuda else "adamw_torch"
    if "tensorboard" in config.report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(config.tracking_folder) / job.work.name)
    bf16 = _compute_dtype(model) == "bfloat16"
    args = SFTConfig(
        output_dir=str(job.checkpoints),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=fit.micro_batch,
        per_device_eval_batch_size=fit.micro_batch,
        gradient_accumulation_steps=fit.accumulation,
        optim=optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        lr_scheduler_type=config.scheduler,
        max_grad_norm=config.max_grad_norm,
        train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        gradient_checkpointing=_checkpointing(config, model),
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=bf16,
        fp16=cuda and _compute_dtype(model) == "float16",
        use_cpu=not cuda,
        seed=config.seed,
        data_seed=config.seed,
        eval_strategy="steps" if heldout is not None else "no",
        eval_steps=config.eval_steps,
        # A logged loss is the mean since the last line: a checkpoint between two lines would lose half of it.
        save_steps=math.ceil(config.save_steps / config.logging_steps) * config.logging_steps,
        save_total_limit=2,  # the newest may be half-written when a kill comes
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,  # it would report the mean of the other losses in place of a NaN
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,  # the parent shows the progress
        dataloader_pin_memory=cuda,
        # The dataset is packed, labelled and within the limit already.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,  # a sequence's tokens are no column, they are gathered when it is asked for
        packing=True,
        max_length=None,
    )
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=heldout,
        processing_class=tokenizer,
        callbacks=[SealCheckpoints(), WriteMetrics(job.metrics)],
    )
    # TRL casts a quantized model's adapter to bfloat16; the optimizer is made later, from what it finds then.
    dtype = getattr(torch, config.adapter_dtype)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return trainer


@contextlib.contextmanager
def _explained(job: Job) -> Any:
    """Turn the failures of a training that a user can mend into words."""
    try:
        yield
    except UnpicklingError as error:  # the trainer reads checkpoints with weights_only
        raise UserError(
            f"a checkpoint in {job.checkpoints} holds more than tensors and numbers, which could run code",
            "find out who wrote it there, then remove that folder: the training begins anew",
        ) from error
    except FloatingPointError as error:
        raise UserError(str(error), "lower train.learning_rate, or set train.max_grad_norm to 0.3 or less") from error
    except Exception as error:
        if not _ran_out_of_memory(error):
            raise
        raise out_of_memory(job.config, fit_of(job), error) from error


@contextlib.contextmanager
def _model_explained(config: TrainConfig) -> Any:
    """As above, before there is anything of a batch: no smaller forward pass helps."""
    try:
        yield
    except Exception as error:
        if not _ran_out_of_memory(error):
            raise
        smaller = "" if config.model.quantization != "none" else "set train.model.quantization to nf4, "
        raise UserError(
            f"the base model itself does not fit into memory: {error}",
            f"{smaller}free memory that others hold, or take a smaller base model or a larger machine",
        ) from error


def _ran_out_of_memory(error: Exception) -> bool:
    """CUDA's own error, and those by which torch's and bitsandbytes' allocators say the same in words."""
    import torch

    said = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _save(job: Job, trainer: Any, *, examples: int) -> None:
    adapter = job.out / "adapter"
    # A path of this machine has no place in an adapter; `export` writes the base model's name.
    trainer.model.peft_config["default"].base_model_name_or_path = ""
    trainer.model.save_pretrained(str(adapter), safe_serialization=True)
    (adapter / "README.md").unlink(missing_ok=True)  # PEFT's template; `export` writes the card
    config = orjson.loads((adapter / "adapter_config.json").read_bytes())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT keeps a set, whose order changes with PYTHONHASHSEED
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    lines = [orjson.loads(line) for line in job.metrics.read_bytes().splitlines()]
    lines = [{name: value for name, value in line.items() if name in KEPT} for line in lines]
    lines = [line for line in lines if "loss" in line or "eval_loss" in line]
    (job.out / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    report = {
        "steps": trainer.state.global_step,
        "epochs": job.config.epochs,
        "examples": examples,
        "trainable_parameters": trainer.model.get_nb_trainable_parameters()[0],
        "compute_dtype": _compute_dtype(trainer.model),
        "train_loss": next((line["loss"] for line in reversed(lines) if "loss" in line), None),
        "held_out_loss_before": held_out[0] if held_out else None,
        "held_out_loss_after": held_out[-1] if held_out else None,
    }
    (job.out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    rows = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in report.items())
    (job.out / "report.md").write_text(f"| | |\n|---|---|\n{rows}")


def _peak_rss() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


def _say(job: Job, text: str) -> None:
    """Tell the person who watches: the parent reads the metrics as they come."""
    with job.metrics.open("ab") as file:
        file.write(orjson.dumps({"step": 0, "max_steps": 0, "said": text}) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
