"""How the effective batch is divided: among processes, and into forward passes that fit into memory (`train.fit`).

The effective batch, and with it the recipe, stays the same: half as many sequences at once, twice as many forward
passes per step. What was chosen or found to fit is kept in `work`/fit.json for a resumed training.
"""

import os
from typing import Any, NamedTuple

import orjson

from tasks.engine.errors import UserError
from tasks.models.model import compute_dtype, device_of
from tasks.training.config import TrainConfig
from tasks.training.distributed import world_size
from tasks.training.job import Job
from tasks.training.memory import RESERVE, BaseShape, Need, Step, main_memory, predict, shape_of
from tasks.training.speedups import BY_ROW, choose_attention, longest_row, may_unpack
from tasks.training.telemetry import Observer

ENOUGH = 2_048  # tokens of a forward pass: matrices with so many rows keep a large GPU busy


class OutOfMemory(UserError):
    """Memory ran out in a forward or backward pass; smaller ones may fit."""


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


def current_fit(job: Job) -> Fit:
    """What was chosen or found to fit where `train.fit` is auto, else what the config says."""
    if job.config.fit == "auto" and job.fit.exists():
        saved = orjson.loads(job.fit.read_bytes())
        return Fit(saved["micro_batch"], saved["accumulation"])
    return Fit(job.config.batch_size, job.config.accumulation)


def save_fit(job: Job, fit: Fit, checkpointing: bool | None = None) -> None:
    """`checkpointing` is saved if it was chosen, too; without it, memory has run out before."""
    temporary = job.fit.with_suffix(".new")
    chosen = {} if checkpointing is None else {"checkpointing": checkpointing}
    temporary.write_bytes(orjson.dumps(fit._asdict() | chosen))
    os.replace(temporary, job.fit)


def _saved_checkpointing(job: Job) -> bool | None:
    return orjson.loads(job.fit.read_bytes()).get("checkpointing") if job.fit.exists() else None


def out_of_memory(config: TrainConfig, fit: Fit, error: BaseException) -> OutOfMemory:
    """The error with what to set so that the next run fits."""
    reason = " ".join(str(error).split()) or type(error).__name__
    what = f"out of memory with {fit.micro_batch} sequences at once: {reason.split('. ')[0][-200:]}"
    lower = ["lower build.max_tokens"]
    if config.gradient_checkpointing != "on":
        lower.append("set train.gradient_checkpointing to on")
    if config.model.quantization == "none":
        lower.append("set train.model.quantization to nf4")
    if (smaller := fit.smaller()) is None:
        return OutOfMemory(what, " or ".join(lower))
    passes = smaller.accumulation * world_size()  # the config holds this process's share
    return OutOfMemory(
        what,
        "set train.fit to auto, which continues from the last checkpoint with smaller forward passes; or "
        f"train.batch_size to {smaller.micro_batch} and train.accumulation to {passes}, the same effective batch, from "
        f"the start; or {', or '.join(lower)}",
    )


# Among processes


def per_process(job: Job) -> Job:
    """The job of each process: its share of the batch, and the number of processes instead of `auto`.

    A fit saved for another number of processes is removed.
    """
    config, count = job.config, process_count(job.config)
    share = split_batch(Fit(config.batch_size, config.accumulation), count)
    if job.fit.exists():
        saved = orjson.loads(job.fit.read_bytes())
        if saved["micro_batch"] * saved["accumulation"] != share.batch:
            job.fit.unlink()
    strategy = "none" if count == 1 else config.distributed.strategy
    distributed = config.distributed.model_copy(update={"strategy": strategy, "processes": count})
    return job.with_config(batch_size=share.micro_batch, accumulation=share.accumulation, distributed=distributed)


def split_batch(fit: Fit, count: int) -> Fit:
    """An Nth of the batch, with as many sequences at once as divide it, up to those of `fit`."""
    if fit.batch % count:
        fewer = next(n for n in range(count, 0, -1) if fit.batch % n == 0)
        raise UserError(
            f"train.batch_size × train.accumulation is {fit.batch}, which {count} processes cannot share evenly",
            f"make it a multiple of {count}, which is another recipe, or set train.distributed.processes to {fewer}",
        )
    batch = fit.batch // count
    micro = next(size for size in range(fit.micro_batch, 0, -1) if batch % size == 0)
    return Fit(micro, batch // micro)


def process_count(config: TrainConfig) -> int:
    """Raises UserError for more processes than GPUs, and for `auto` without a GPU."""
    wanted = config.distributed.processes
    if config.distributed.strategy == "none":
        return 1
    import torch

    gpus = 0 if config.model.device == "cpu" else torch.cuda.device_count()
    if wanted == "auto":
        if not gpus:
            raise UserError(
                "train.distributed.processes is auto, and there is no GPU to count",
                "set train.distributed.processes to a number, or train.distributed.strategy to none",
            )
        return gpus
    if 0 < gpus < wanted:
        raise UserError(
            f"train.distributed.processes is {wanted}, and this machine has {gpus} GPUs",
            f"set train.distributed.processes to auto, or to {gpus}",
        )
    return wanted


# Into forward passes that fit


class Option(NamedTuple):
    """One way to compute the effective batch."""

    fit: Fit
    checkpointing: bool
    need: Need
    allowed: bool  # for `auto` to choose
    full: bool  # a forward pass has enough tokens to keep a GPU busy


def options(shape: BaseShape, config: TrainConfig, step: Step) -> list[Option]:
    """Every way to compute the effective batch: large forward passes first, without checkpointing first.

    Where attention takes a mask, `auto` may not make forward passes larger than the config's: the mask, and the work on
    it, grow with the square of all tokens in a pass.
    """
    given = Fit(config.batch_size, config.accumulation)
    unmasked = step.attention in (BY_ROW, "flash_attention_2")
    largest = given.batch if unmasked else given.micro_batch
    found = []
    for size in (size for size in range(given.batch, 0, -1) if given.batch % size == 0):
        full = size * step.length >= min(ENOUGH, given.batch * step.length)
        for checkpointing in {"on": (True,), "off": (False,), "auto": (False, True)}[config.gradient_checkpointing]:
            need = predict(shape, config, step._replace(micro_batch=size, checkpointing=checkpointing))
            found.append(Option(Fit(size, given.batch // size), checkpointing, need, size <= largest, full))
    return found


def choose(found: list[Option], room: float) -> Option | None:
    """Of those that fit into `room` bytes, the largest full forward pass without checkpointing, else the largest.

    Checkpointing computes the forward pass twice, a third more work; a full pass gains less than that by being larger.
    """
    fits = [option for option in found if option.allowed and option.need.total <= room]
    return next((option for option in fits if option.full and not option.checkpointing), fits[0] if fits else None)


def plan_memory(job: Job, train: Any) -> tuple[Job, dict[str, int]]:
    """The job with checkpointing and `speed` as memory allows, and {"predicted_mib"} to compare with the peak.

    `auto` writes its forward passes to work/fit.json; what an earlier run chose or found to fit stays. Where nothing
    can be predicted, the job is trained as given, with packed weights; if memory runs out, passes are halved.
    """
    as_given: tuple[Job, dict[str, int]] = (job.with_config(speed="plain"), {})
    if job.config.distributed.strategy == "fsdp":  # the prediction does not cover it
        return as_given
    return Observer("memory prediction", job.say)(lambda: _plan(job, train), as_given)


def _plan(job: Job, train: Any) -> tuple[Job, dict[str, int]]:
    if (shape := shape_of(job.base)) is None:
        return job.with_config(speed="plain"), {}
    step = _step(job, shape, train)
    room = _room(step.cuda)
    if job.config.fit == "auto":
        if not job.fit.exists():
            found = options(shape, job.config, step)
            chosen = choose(found, room)
            job.say(_explain(chosen, found, job.config, room, step.cuda))
            option = chosen or found[-1]
            save_fit(job, option.fit, option.checkpointing)
        if (checkpointing := _saved_checkpointing(job)) is not None:
            job = job.with_config(gradient_checkpointing="on" if checkpointing else "off")
    way = job.config.gradient_checkpointing
    checkpointing = way == "on" or (way == "auto" and step.cuda)
    step = step._replace(micro_batch=current_fit(job).micro_batch, checkpointing=checkpointing)
    unpacked = step._replace(unpacked=True)
    ran_out = job.fit.exists() and _saved_checkpointing(job) is None
    if may_unpack(job.config) and not ran_out and predict(shape, job.config, unpacked).total <= room:
        step = unpacked
    else:
        job = job.with_config(speed="plain")
    need = predict(shape, job.config, step)
    return job, {"predicted_mib": round((need.allocated + (0 if step.cuda else _own_memory())) / 2**20)}


def _step(job: Job, shape: BaseShape, train: Any) -> Step:
    from tasks.data.dataset.folder import Lengths, is_shared

    lengths = Lengths.of(job.train)
    if is_shared(job.train) and device_of(job.config.model) == "cpu":  # a beginning counts once
        sizes = [len(sequence["input_ids"]) for sequence in train]
    else:
        sizes = [sum(sequence) for sequence in train.with_format(None)["seq_lengths"]]
    longest = max(sizes)
    answers = float((lengths.wholes - lengths.prompts).sum() / max(1, sum(sizes)))
    return step_of(job.config, shape, longest, longest_row(job), answers)


def step_of(
    config: TrainConfig, shape: BaseShape, sequence: int, row: int, answers: float, *, cuda: bool | None = None
) -> Step:
    """As the config has it on this machine, for sequences and rows of up to so many tokens.

    `cuda` is for another machine, which is assumed to compute in 16 bits if it has a GPU.
    """
    import torch

    here = config.model.device != "cpu" and torch.cuda.is_available()
    on_cuda = here if cuda is None else cuda
    dtype = compute_dtype(config.model, "cuda" if here else "cpu")
    if on_cuda and not here and config.model.compute_dtype == "auto":
        dtype = torch.bfloat16
    attention = choose_attention(config.model, shape.by_row_limit, row, cuda=on_cuda)
    return Step(config.batch_size, sequence, answers, False, dtype.itemsize, attention, on_cuda)


def _room(cuda: bool) -> float:
    """The bytes that a training may take: what is free, less the reserve."""
    import torch

    if cuda:
        free, total = torch.cuda.mem_get_info()  # without what CUDA itself takes
        total = round(total * torch.cuda.get_per_process_memory_fraction())  # PYTORCH_CUDA_ALLOC_CONF may set it
        return min(free, total) - RESERVE * total
    return main_memory()[1] / world_size() * (1 - RESERVE)  # processes on a CPU share it


def _own_memory() -> int:
    """The bytes of this process before there is a model; the libraries must be imported by now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _explain(chosen: Option | None, found: list[Option], config: TrainConfig, room: float, cuda: bool) -> str:
    free = f"{room / 2**30:.1f} GiB free {'on the GPU' if cuda else 'in memory'}, beside {RESERVE:.0%} in reserve"
    option = chosen or found[-1]
    need = f"predicted {option.need.total / 2**30:.1f} GiB ({free})"
    name = f"{option.fit.micro_batch} at once {'with' if option.checkpointing else 'without'} checkpointing"
    if chosen is None:
        return f"train.fit is auto: nothing is predicted to fit; trying {name}, {need}"
    given = option.fit == (config.batch_size, config.accumulation)
    batch = "as given" if given else f"the same batch of {option.fit.batch}"
    return f"train.fit is auto: {name}, {option.fit.accumulation} forward passes a step, {batch}: {need}"
