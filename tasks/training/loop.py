"""The training child: ``python -m tasks.training.loop job.json PARENT``.

Loads the base model in 4 bits, puts a LoRA adapter on it, trains with TRL's SFTTrainer, and writes the adapter. Of
several processes (see processes/) each runs this.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.training.adapted import adapted
from tasks.training.best import take_best
from tasks.training.checkpoints import last_whole
from tasks.training.failures import KINDS, LostGpu, explained, model_explained
from tasks.training.fitting.fit import fit_of
from tasks.training.fitting.plan import planned
from tasks.training.job import Job
from tasks.training.processes.distributed import agreed, join, leads, most, part, world
from tasks.training.processes.parent import die_with
from tasks.training.result import save
from tasks.training.telemetry import matrix_rate, peak_mib
from tasks.training.trainer import make_trainer


def main(told: Path, parent: int) -> None:
    die_with(parent)
    job = Job.model_validate_json(told.read_bytes())
    try:
        _run(job)
    except UserError as error:
        kind = next((name for name, each in KINDS.items() if type(error) is each), "mend")
        failure = {"kind": kind, "what": error.what, "remedy": error.remedy}
        # Several processes may fail at once; of one that fails for another reason the others hear by a broken link.
        if not (isinstance(error, LostGpu) and job.failure.exists()):
            beside = job.failure.with_suffix(f".{os.getpid()}")
            beside.write_bytes(orjson.dumps(failure))
            os.replace(beside, job.failure)
        raise SystemExit(2) from error


def _run(job: Job) -> None:
    import torch
    from transformers import set_seed

    from tasks.data.dataset.folder import load
    from tasks.models.model import compute_dtype, device_of, load_tokenizer

    began = time.monotonic()
    join(cpu=job.config.model.device == "cpu" or not torch.cuda.is_available())
    set_seed(job.config.seed, deterministic=job.config.deterministic)
    device = device_of(job.config.model)
    with model_explained(job):
        rate = matrix_rate(device, compute_dtype(job.config.model, device)[0])
    checkpoint = agreed(lambda: last_whole(job.checkpoints))
    if world() > 1:
        each = f"{job.config.batch_size} at once, {job.config.accumulation} forward passes a step"
        job.tell(f"{world()} processes ({job.config.distributed.strategy}), each with {each}")
    if checkpoint:
        job.tell(f"resuming from {checkpoint.name}")
    train = load(job.train, replay=job.config.replay, seed=job.config.seed)
    if not len(train):
        raise UserError("no row is new since the champion", "raise train.replay above 0, or set train.start: base")
    job, predicted = agreed(partial(planned, job, train))
    heldout = load(job.heldout) if job.heldout else None
    tokenizer = load_tokenizer(job.base)
    with model_explained(job):
        trainer = make_trainer(job, adapted(job), tokenizer, train, heldout or None, rate)
    with explained(job):
        if trainer.eval_dataset is not None and checkpoint is None:
            # A model that was evaluated is never wrapped by accelerate 1.15: each process would train for itself.
            trainer.args.eval_on_start = world() > 1
            if world() == 1:
                trainer.evaluate()
        start = time.monotonic()
        if not (checkpoint and _taken_as_end(job, checkpoint, trainer)):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.monotonic() - start
        if trainer.eval_dataset is not None and not agreed(lambda: _evaluated(job, trainer.state.global_step)):
            trainer.evaluate()
    cost, peak = trainer.cost(), most(peak_mib())
    if not leads():  # the adapter is whole in each, and one writes it
        return part()
    if job.config.keep == "best":
        take_best(job, trainer)
    lengths = [length for row in train.with_format(None)["seq_lengths"] for length in row]
    save(job, trainer, examples=len(lengths))
    measured = {
        "train_seconds": round(seconds, 1),
        **cost,
        "peak_mib": round(peak),
        **predicted,
        "micro_batch": fit_of(job).micro_batch,
    }
    if torch.cuda.is_available():
        measured["gpu_seconds"] = round((time.monotonic() - began) * trainer.args.world_size, 1)
    (job.work / "measured.json").write_bytes(orjson.dumps(measured))
    part()


def _taken_as_end(job: Job, checkpoint: Path, trainer: Any) -> bool:
    """Take the adapter of a checkpoint behind the last step; false if there are steps left.

    A trainer that resumes from there in the middle of an epoch would do one more; likewise from where its
    patience ended.
    """
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    impatient = job.config.patience > 0 and state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
    if state.global_step < state.max_steps and not impatient:
        return False
    trainer.model.load_adapter(str(checkpoint), "default", is_trainable=True, autocast_adapter_dtype=False)
    trainer.state = state
    return True


def _evaluated(job: Job, step: int) -> bool:
    """Whether the log has the held-out loss after this step, be it from a run that was killed behind it."""
    lines = map(orjson.loads, job.metrics.read_bytes().splitlines())
    return any("eval_loss" in line and line["step"] == step for line in lines)


if __name__ == "__main__":
    run = main
    if world() > 1:
        from torch.distributed.elastic.multiprocessing.errors import record

        run = record(main)  # which leaves the launcher word of what it failed of
    run(Path(sys.argv[1]), int(sys.argv[2]))
