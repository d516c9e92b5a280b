"""TRL's trainer as a config tells it to be."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.training.adapted import checkpointing, compute_dtype
from tasks.training.best import judged, require_heldout
from tasks.training.fitting.fit import fit_of
from tasks.training.job import Job

if TYPE_CHECKING:
    from tasks.training.metered import MeteredTrainer


def make_trainer(
    job: Job, model: Any, tokenizer: Any, train: Any, heldout: Any, rate: float | None = None
) -> "MeteredTrainer":
    """`rate` is the device's, of matrix products in the compute dtype: see telemetry.py."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    from tasks.training.callbacks import Judge, SealCheckpoints, WriteMetrics
    from tasks.training.metered import MeteredTrainer

    config, fit = job.config, fit_of(job)
    require_heldout(config, heldout)
    cuda = model.device.type == "cuda"
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "paged_adamw_32bit" if cuda else "adamw_torch_fused"
    if "tensorboard" in config.report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(config.tracking_folder) / job.work.name)
    bf16 = compute_dtype(config, model) == "bfloat16"
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
        gradient_checkpointing=checkpointing(config, model),
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=bf16,
        fp16=cuda and compute_dtype(config, model) == "float16",
        use_cpu=not cuda,
        seed=config.seed,
        data_seed=config.seed,
        eval_strategy="steps" if heldout is not None else "no",
        eval_steps=config.eval_steps,
        # A logged loss is the mean since the last line: a checkpoint between two lines would lose half of it.
        save_steps=math.ceil(config.save_steps / config.logging_steps) * config.logging_steps,
        # The newest may be half-written when a kill comes; the best is kept beside two.
        save_total_limit=3 if config.keep == "best" else 2,
        metric_for_best_model="eval_loss" if judged(config) else None,
        neftune_noise_alpha=config.neftune_noise_alpha or None,
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,  # it would report the mean of the other losses in place of a NaN
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,  # the parent shows the progress
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,  # each step uses every weight of the adapter
        # The dataset is packed, labelled and within the limit already.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,  # a sequence's tokens are no column, they are gathered when it is asked for
        packing=True,
        max_length=None,
    )
    # What an adapter that is not random begins with is not to be rounded by the cast below.
    begun = job.start is not None or config.lora.init == "loftq"
    whole = [parameter.data for parameter in model.parameters()] if begun else None
    trainer = MeteredTrainer(
        rate=rate,
        model=model,
        args=args,
        train_dataset=train,
        eval_dataset=heldout,
        processing_class=tokenizer,
        callbacks=[SealCheckpoints(), WriteMetrics(job.metrics), *([Judge(config)] if judged(config) else [])],
    )
    # TRL casts a quantized model's adapter to bfloat16; the optimizer is made later, from what it finds then.
    dtype = getattr(torch, config.adapter_dtype)
    for index, parameter in enumerate(model.parameters()):
        if parameter.requires_grad:
            parameter.data = (whole[index] if whole else parameter.data).to(dtype)
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
