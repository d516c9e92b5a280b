"""TRL's trainer and its callbacks, set up from a config.

Import it inside a function: it loads torch, transformers and TRL.
"""

import math
import os
import time
from pathlib import Path
from typing import Any

import orjson
import torch
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tasks.engine.errors import UserError
from tasks.models.model import compute_dtype
from tasks.training.adapter import uses_checkpointing
from tasks.training.config import TrainConfig
from tasks.training.distributed import barrier, is_leader
from tasks.training.fit import current_fit
from tasks.training.job import Job
from tasks.training.outputs import seal
from tasks.training.selfcheck import Way, choose_way, share_beginnings
from tasks.training.speedups import AnswerPositions
from tasks.training.telemetry import NO_SUMS, Meter, Observer, figures, flops_of, peak_mib


class AdapterTrainer(SFTTrainer):
    """Computes for answers alone, resumes in the adapter's dtype, and logs what training costs.

    `rate` is the device's matrix rate in FLOPs a second, for MFU.
    """

    def __init__(self, *, observe: Observer, rate: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        model: Any = self.model
        AnswerPositions(model.get_base_model().base_model)
        self.way = Way.of(model.get_base_model())
        self.observe = observe
        self.meter = Meter(observe(lambda: flops_of(model), None), rate)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        return super().compute_loss(model, self.way.inputs(inputs), *arguments, **options)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Keep each dtype: PEFT loads a 16-bit adapter as float32, and the optimizer is created after that."""
        adapted: Any = self.model if model is None else model
        dtypes = {name: each.dtype for name, each in adapted.named_parameters()}
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for name, each in adapted.named_parameters():
            each.data = each.data.to(dtypes[name])

    def training_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        self.observe(lambda: self.meter.count(inputs), None)
        return super().training_step(model, inputs, *arguments, **options)

    def _maybe_log_save_evaluate(self, *arguments: Any, **options: Any) -> None:
        """Stop the clock meanwhile; where nothing is due, do not wait for the device."""
        control = self.control
        due = control.should_log or control.should_evaluate or control.should_save
        if due:
            self.observe(self.meter.stop, None)
        super()._maybe_log_save_evaluate(*arguments, **options)
        if due:
            self.observe(self.meter.start, None)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # of steps, not of an evaluation or the end; trackers, metrics and the bar get these values
            logs |= self.cost(since_last=True)
            if peak := self.observe(peak_mib, 0.0):
                logs["peak_mib"] = round(peak)
        super().log(logs, start_time)

    def cost(self, *, since_last: bool = False) -> dict[str, float]:
        """Of all steps in this process, or those since it was last asked; every process must call it."""
        own = self.observe(lambda: self.meter.sums(since_last=since_last), NO_SUMS)
        sums = self.accelerator.reduce(torch.tensor(own, dtype=torch.float64, device=self.args.device), "sum")
        return self.observe(lambda: figures(sums.tolist()), {})


class SealCheckpoints(TrainerCallback):
    """Seal each checkpoint once it is written completely, unless its adapter holds NaN or infinity.

    The last step is always saved, but its loss not always logged, so WriteMetrics may not see it.
    """

    def on_save(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        trained = (each for each in context["model"].parameters() if each.requires_grad)
        if not all(bool(each.isfinite().all()) for each in trained):
            raise FloatingPointError(f"the adapter has weights that are not finite after step {state.global_step}")
        barrier()  # each process writes the state of its own random numbers
        if is_leader():
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class WriteMetrics(TrainerCallback):
    """Append what the trainer logs as JSON lines; stop at a loss that is not finite, before it reaches a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the step between log lines, too, for the progress bar; at most once a second."""
        if time.monotonic() - self.written > 1:
            self.written = time.monotonic()
            self._write({"step": state.global_step, "max_steps": state.max_steps})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        line = {"step": state.global_step, "max_steps": state.max_steps, **(logs or {})}
        self._write(line)
        loss = line.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss} at step {state.global_step}")

    def _write(self, line: dict[str, Any]) -> None:
        if is_leader():
            with self.path.open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")


class KeepBest(TrainerCallback):
    """Save the best adapter so far if `keep` is best; stop after `patience` held-out losses that are no better.

    transformers' EarlyStoppingCallback counts in itself, so a resumed training would stop at another step. This one
    counts in the trainer's state, which every checkpoint holds.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.patience = config.patience
        self.saves = config.keep == "best"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log before a possible checkpoint, or a resume would lose the mean loss since the last line."""
        control.should_log |= control.should_evaluate and self.saves

    def on_evaluate(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        """Called before the trainer notes this loss as its best."""
        if context["metrics"]["eval_loss"] < (math.inf if state.best_metric is None else state.best_metric):
            control.should_save |= self.saves
            return
        best = state.best_global_step or 0
        since_best = sum("eval_loss" in line and line["step"] > best for line in state.log_history)
        control.should_training_stop |= 0 < self.patience <= since_best


def make_trainer(
    job: Job, model: Any, tokenizer: Any, train: Any, heldout: Any, rate: float | None = None
) -> AdapterTrainer:
    config, fit = job.config, current_fit(job)
    _require_heldout(config, heldout)
    cuda = model.device.type == "cuda"
    dtype = compute_dtype(config.model, model.device.type)
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "paged_adamw_32bit" if cuda else "adamw_torch_fused"
    if "tensorboard" in config.report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(config.tracking_folder) / job.work.name)
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
        gradient_checkpointing=uses_checkpointing(config, model),
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=dtype == torch.bfloat16,
        fp16=cuda and dtype == torch.float16,
        use_cpu=not cuda,
        seed=config.seed,
        data_seed=config.seed,
        eval_strategy="steps" if heldout is not None else "no",
        eval_steps=config.eval_steps,
        # A logged loss is the mean since the last line: a checkpoint between two lines would lose half of it.
        save_steps=math.ceil(config.save_steps / config.logging_steps) * config.logging_steps,
        # A kill may leave the newest half-written; the best is kept beside two.
        save_total_limit=3 if config.keep == "best" else 2,
        metric_for_best_model="eval_loss" if _uses_heldout(config) else None,
        neftune_noise_alpha=config.neftune_noise_alpha or None,
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,  # it would report the mean of the other losses in place of a NaN
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,  # the parent shows the progress
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,  # each step uses every weight of the adapter
        dataset_kwargs={"skip_prepare_dataset": True},  # it is packed, labelled and within the limit already
        remove_unused_columns=False,  # a sequence's tokens are gathered when it is read, they are not a column
        packing=True,
        max_length=None,
        router_aux_loss_coef=0.0,  # the loss is the answers' likelihood; the routers of a mixture of experts are frozen
    )
    # The cast below must not round an adapter that starts with more than random numbers.
    exact = job.start is not None or config.lora.init == "loftq"
    before = [parameter.data for parameter in model.parameters()] if exact else None
    trainer = AdapterTrainer(
        observe=Observer("telemetry", job.say),
        rate=rate,
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=heldout,
        processing_class=tokenizer,
        callbacks=[
            SealCheckpoints(),
            WriteMetrics(job.metrics),
            *([KeepBest(config)] if _uses_heldout(config) else []),
        ],
    )
    trainer.data_collator = share_beginnings(trainer.data_collator)
    # TRL casts a quantized model's adapter to bfloat16; the optimizer is created later, from what it finds then.
    adapter_dtype = getattr(torch, config.adapter_dtype)
    for index, parameter in enumerate(model.parameters()):
        if parameter.requires_grad:
            parameter.data = (before[index] if before else parameter.data).to(adapter_dtype)
    trainer.way = choose_way(trainer, job)
    if config.lora.plus_ratio != 1:
        from peft.optimizers import create_loraplus_optimizer

        kind, settings = trainer.get_optimizer_cls_and_kwargs(args, model)
        trainer.optimizer = create_loraplus_optimizer(
            model,
            kind,
            loraplus_lr_ratio=config.lora.plus_ratio,
            loraplus_weight_decay=config.weight_decay,
            **settings,
        )
    return trainer


def _uses_heldout(config: TrainConfig) -> bool:
    return config.keep == "best" or config.patience > 0


def _require_heldout(config: TrainConfig, heldout: Any) -> None:
    if _uses_heldout(config) and heldout is None:
        setting = "keep is best" if config.keep == "best" else f"patience is {config.patience}"
        raise UserError(
            f"train.{setting}, and no rows are held out to judge by",
            "raise build.heldout_share, or set train.keep to last and train.patience to 0",
        )
