"""The training child: ``python -m tasks.training.loop job.json PARENT``.

Loads the base model in 4 bits, adds a LoRA adapter, trains with TRL's SFTTrainer and writes the adapter. For several
processes it starts them by `accelerate launch`, and each runs this again.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.training.adapter import load_with_adapter
from tasks.training.distributed import (
    die_with,
    from_leader,
    is_leader,
    join_group,
    launch,
    leave_group,
    maximum,
    world_size,
)
from tasks.training.failures import KINDS, LostGpu, explain_failures
from tasks.training.fit import current_fit, plan_memory
from tasks.training.job import Job
from tasks.training.outputs import best_step, last_intact, read_metrics, save_result
from tasks.training.telemetry import Observer, matrix_rate, peak_mib

MODULE = "tasks.training.loop"


def main(job_file: Path, parent: int) -> None:
    die_with(parent)
    job = Job.model_validate_json(job_file.read_bytes())
    distributed = job.config.distributed
    if distributed.strategy != "none" and world_size() == 1:
        return launch(MODULE, job_file, int(distributed.processes))
    try:
        run(job)
    except UserError as error:
        _write_failure(job, error)
        raise SystemExit(2) from error


def _write_failure(job: Job, error: UserError) -> None:
    """For the parent. If several processes fail, the cause stays: the others report its broken link as a lost GPU."""
    if isinstance(error, LostGpu) and job.failure.exists():
        return
    kind = next((name for name, each in KINDS.items() if type(error) is each), "config")
    temporary = job.failure.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(orjson.dumps({"kind": kind, "what": error.what, "remedy": error.remedy}))
    os.replace(temporary, job.failure)


def run(job: Job) -> None:
    import torch
    from transformers import set_seed

    from tasks.data.dataset.folder import load
    from tasks.models.model import compute_dtype, device_of, load_tokenizer
    from tasks.training.trainer import make_trainer

    began = time.monotonic()
    join_group(cpu=job.config.model.device == "cpu" or not torch.cuda.is_available())
    set_seed(job.config.seed, deterministic=job.config.deterministic)
    device = device_of(job.config.model)
    dtype = compute_dtype(job.config.model, device)
    rate = Observer("MFU", job.say)(lambda: matrix_rate(device, dtype), None)
    checkpoint = from_leader(lambda: last_intact(job.checkpoints))
    if world_size() > 1:
        share = f"{job.config.batch_size} at once, {job.config.accumulation} forward passes a step"
        job.say(f"{world_size()} processes ({job.config.distributed.strategy}), each with {share}")
    if checkpoint:
        job.say(f"resuming from {checkpoint.name}")
    train = load(job.train, replay=job.config.replay, seed=job.config.seed)
    if not len(train):
        raise UserError("no row is new since the champion", "raise train.replay above 0, or set train.start: base")
    job, predicted = from_leader(partial(plan_memory, job, train))
    heldout = load(job.heldout) if job.heldout else None
    tokenizer = load_tokenizer(job.base)
    with explain_failures(job, loading=True):
        trainer = make_trainer(job, load_with_adapter(job), tokenizer, train, heldout or None, rate)
    with explain_failures(job):
        seconds = _train(job, trainer, checkpoint)
    cost = trainer.cost()
    peak = maximum(Observer("peak memory", job.say)(peak_mib, 0.0))
    if is_leader():  # the adapter is whole in each process
        if job.config.keep == "best":
            _load_best(job, trainer)
        lengths = [length for sequence in train.with_format(None)["seq_lengths"] for length in sequence]
        save_result(job, trainer, examples=len(lengths))
        measured = {"train_seconds": round(seconds, 1), **cost, "peak_mib": round(peak), **predicted}
        measured["micro_batch"] = current_fit(job).micro_batch
        if torch.cuda.is_available():
            measured["gpu_seconds"] = round((time.monotonic() - began) * world_size(), 1)
        (job.work / "measured.json").write_bytes(orjson.dumps(measured))
    leave_group()


def _train(job: Job, trainer: Any, checkpoint: Path | None) -> float:
    """Train to the end, with held-out losses before and after; returns the seconds of training."""
    evaluates = trainer.eval_dataset is not None
    if evaluates and checkpoint is None:
        # accelerate 1.15 does not wrap a model that was evaluated before: each process would train for itself
        trainer.args.eval_on_start = world_size() > 1
        if world_size() == 1:
            trainer.evaluate()
    began = time.monotonic()
    if not (checkpoint and _load_if_finished(job, checkpoint, trainer)):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    if evaluates and not from_leader(lambda: _was_evaluated(job, trainer.state.global_step)):
        trainer.evaluate()
    return seconds


def _load_if_finished(job: Job, checkpoint: Path, trainer: Any) -> bool:
    """Load the adapter of a checkpoint after which no step is left; False if there are steps left.

    A trainer that resumes there in the middle of an epoch, or where its patience ended, would do one more step.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    stopped = job.config.patience > 0 and state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
    if state.global_step < state.max_steps and not stopped:
        return False
    _load_adapter(trainer, checkpoint)
    trainer.state = state
    return True


def _was_evaluated(job: Job, step: int) -> bool:
    """Whether the log holds the held-out loss after this step; a run that was killed later may have written it."""
    return any("eval_loss" in line and line["step"] == step for line in read_metrics(job))


def _load_best(job: Job, trainer: Any) -> None:
    step, _ = best_step(job)
    if step != trainer.state.global_step:
        _load_adapter(trainer, job.checkpoints / f"checkpoint-{step}")


def _load_adapter(trainer: Any, checkpoint: Path) -> None:
    """In its own dtype: PEFT would turn bfloat16 into float32."""
    trainer.model.load_adapter(str(checkpoint), "default", is_trainable=True, autocast_adapter_dtype=False)


if __name__ == "__main__":
    entry = main
    if world_size() > 1:
        from torch.distributed.elastic.multiprocessing.errors import record

        entry = record(main)  # it tells the launcher why it failed
    entry(Path(sys.argv[1]), int(sys.argv[2]))
