"""How many sequences go through the model at once: as the config says, as was chosen, or fewer since memory ran out.

The effective batch, and with it the recipe, stays: half as many at once, twice as many forward passes per step. What
was chosen (plan.py), or found to fit, stands in `work`/fit.json, so that a resumed training goes on with it.
"""

import os
from typing import NamedTuple

import orjson

from tasks.engine.errors import UserError
from tasks.training.config import TrainConfig
from tasks.training.job import Job
from tasks.training.processes.distributed import world


class OutOfMemory(UserError):
    """Memory ran out in a forward or backward pass, of which smaller ones may fit."""


class Fit(NamedTuple):
    """`micro_batch` sequences per device and forward pass, `accumulation` passes per optimizer step."""

    micro_batch: int
    accumulation: int

    @property
    def batch(self) -> int:
        return self.micro_batch * self.accumulation

    def smaller(self) -> "Fit | None":
        """The next one of the same effective batch: its largest divisor up to half; None below 1."""
        sizes = [size for size in range(1, self.micro_batch // 2 + 1) if self.batch % size == 0]
        return Fit(sizes[-1], self.batch // sizes[-1]) if sizes else None


def fit_of(job: Job) -> Fit:
    """What to train with: what was found to fit where `train.fit` is auto, else what the config says."""
    config = job.config
    if config.fit == "auto" and job.fit.exists():
        told = orjson.loads(job.fit.read_bytes())
        return Fit(told["micro_batch"], told["accumulation"])
    return Fit(config.batch_size, config.accumulation)


def keep(job: Job, fit: Fit, checkpointing: bool | None = None) -> None:
    """Write it down whole, or not at all; with `checkpointing` where that was chosen, too."""
    beside = job.fit.with_suffix(".new")
    chosen = {} if checkpointing is None else {"checkpointing": checkpointing}
    beside.write_bytes(orjson.dumps(fit._asdict() | chosen))
    os.replace(beside, job.fit)


def out_of_memory(config: TrainConfig, fit: Fit, error: BaseException) -> OutOfMemory:
    """What to set so that the next run fits."""
    what = f"out of memory with {fit.micro_batch} sequences at once: {_brief(error)}"
    lower = ["lower build.max_tokens"]
    if config.gradient_checkpointing != "on":
        lower.append("set train.gradient_checkpointing to on")
    if config.model.quantization == "none":
        lower.append("set train.model.quantization to nf4")
    smaller = fit.smaller()
    if smaller is None:
        return OutOfMemory(what, " or ".join(lower))
    passes = smaller.accumulation * world()  # each process was told its share
    values = f"train.batch_size to {smaller.micro_batch} and train.accumulation to {passes}"
    return OutOfMemory(
        what,
        f"set train.fit to auto, which goes on from the last checkpoint with smaller forward passes; or {values}, the "
        f"same effective batch, from the start; or {', or '.join(lower)}",
    )


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][-200:]
