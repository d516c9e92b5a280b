"""`train.fit: auto`: choose, before the first step, what fits into memory, of the same effective batch."""

from typing import Any, NamedTuple

import orjson

from tasks.engine.errors import UserError
from tasks.training.config import TrainConfig
from tasks.training.faster.attention import BY_ROW, implementation, longest_row
from tasks.training.faster.unpacked import unpacks
from tasks.training.fitting.fit import Fit, fit_of, keep
from tasks.training.fitting.memory import RESERVE, Need, Shape, Step, predict, shape_of
from tasks.training.job import Job
from tasks.training.processes.distributed import world

ENOUGH = 2_048  # tokens of a forward pass: matrices of so many rows keep a large GPU busy


class Row(NamedTuple):
    """One way to train the effective batch, what it takes, and whether `auto` may choose it."""

    fit: Fit
    checkpointing: bool
    need: Need
    open: bool
    full: bool  # a forward pass has enough tokens to keep a GPU busy


def rows(shape: Shape, config: TrainConfig, step: Step) -> list[Row]:
    """Every form of the effective batch: large forward passes first, and those without checkpointing.

    Where attention takes a mask, `auto` never makes forward passes larger than the config's: the T × T mask, and the
    work on it, grow with the square of all tokens in one.
    """
    given = Fit(config.batch_size, config.accumulation)
    unmasked = step.attention in (BY_ROW, "flash_attention_2")
    most = given.batch if unmasked else given.micro_batch
    sizes = [size for size in range(given.batch, 0, -1) if given.batch % size == 0]
    ways = {"on": (True,), "off": (False,), "auto": (False, True)}[config.gradient_checkpointing]
    found = []
    for size in sizes:
        for way in ways:
            need = predict(shape, config, step._replace(micro_batch=size, checkpointing=way))
            full = size * step.length >= min(ENOUGH, given.batch * step.length)
            found.append(Row(Fit(size, given.batch // size), way, need, size <= most, full))
    return found


def choose(found: list[Row], room: float) -> Row | None:
    """Of what fits into `room` bytes the largest forward pass without checkpointing, if that is full; else the largest.

    Checkpointing computes the forward pass twice, a third more work, and a full pass gains less by being larger.
    """
    fits = [row for row in found if row.open and row.need.total <= room]
    return next((row for row in fits if row.full and not row.checkpointing), fits[0] if fits else None)


def planned(job: Job, train: Any) -> tuple[Job, dict[str, int]]:
    """The job with gradient checkpointing as chosen, and {"predicted_mib"} for beside the peak that is measured.

    Forward passes go into work/fit.json. What was chosen, or found to fit, in an earlier run stays. Nothing is chosen
    or predicted for a model of which config.json does not tell enough; when memory runs out passes are halved, still.
    """
    config, plain = job.config, job.config.model_copy(update={"speed": "plain"})
    try:
        shape = shape_of(job.base)
    except (OSError, UserError):  # told in better words when the model is loaded
        shape = None
    if config.distributed.strategy == "fsdp":  # of which the prediction knows nothing
        shape = None
    if shape is None:
        return job.model_copy(update={"config": plain}), {}
    step = _step(job, shape, train)
    if config.fit == "auto" and not job.fit.exists():
        found = rows(shape, config, step)
        room = _room(step.cuda)
        row = choose(found, room)
        job.tell(_told(row, found, config, room, step.cuda))
        row = row or found[-1]
        keep(job, row.fit, row.checkpointing)
    if config.fit == "auto":
        told = orjson.loads(job.fit.read_bytes())
        if "checkpointing" in told:
            way = "on" if told["checkpointing"] else "off"
            job = job.model_copy(update={"config": config.model_copy(update={"gradient_checkpointing": way})})
    way = job.config.gradient_checkpointing
    checkpointing = way == "on" or (way == "auto" and step.cuda)
    step = step._replace(micro_batch=fit_of(job).micro_batch, checkpointing=checkpointing)
    job, step = _unpacked(job, shape, step)
    need = predict(shape, job.config, step)
    own = 0 if step.cuda else _own()
    return job, {"predicted_mib": round((need.allocated + own) / 2**20)}


def _unpacked(job: Job, shape: Shape, step: Step) -> tuple[Job, Step]:
    """With 4-bit weights unpacked if there is room for them beside all else, and memory has not run out before."""
    whole = step._replace(unpacked=True)
    ran_out = job.fit.exists() and "checkpointing" not in orjson.loads(job.fit.read_bytes())
    fits = predict(shape, job.config, whole).total <= _room(step.cuda)
    if unpacks(job.config) and fits and not ran_out:
        return job, whole
    return job.model_copy(update={"config": job.config.model_copy(update={"speed": "plain"})}), step


def _step(job: Job, shape: Shape, train: Any) -> Step:
    from tasks.data.dataset.folder import Lengths

    lengths = Lengths.of(job.train)
    pack = max(sum(row) for row in train.with_format(None)["seq_lengths"])
    answers = 1 - float(lengths.prompts.sum() / max(1, lengths.wholes.sum()))
    return step_of(job.config, shape, pack, longest_row(job), answers)


def step_of(
    config: TrainConfig, shape: Shape, pack: int, row: int, answers: float, *, cuda: bool | None = None
) -> Step:
    """As the config has it here, of packs and rows of up to so many tokens.

    `cuda` for another machine, which is taken to compute in 16 bits.
    """
    import torch

    from tasks.models.model import compute_dtype

    here = config.model.device != "cpu" and torch.cuda.is_available()
    on_cuda = here if cuda is None else cuda
    dtype = compute_dtype(config.model, "cuda" if here else "cpu")[0]
    if on_cuda and not here and config.model.compute_dtype == "auto":
        dtype = torch.bfloat16
    attention = implementation(config.model, shape.reach, row, cuda=on_cuda)
    return Step(config.batch_size, pack, answers, False, dtype.itemsize, attention, on_cuda)


def _room(cuda: bool) -> float:
    """Bytes that a training may take: what is free, less the reserve."""
    import torch

    from tasks.training.fitting.room import memory

    if cuda:
        free, total = torch.cuda.mem_get_info()  # CUDA's own share is taken already
        total = round(total * torch.cuda.get_per_process_memory_fraction())  # PYTORCH_CUDA_ALLOC_CONF may set it
        return min(free, total) - RESERVE * total
    return memory()[1] / world() * (1 - RESERVE)  # processes on a CPU share it


def _told(row: Row | None, found: list[Row], config: TrainConfig, room: float, cuda: bool) -> str:
    where = "on the GPU" if cuda else "of memory"
    free = f"{room / 2**30:.1f} GiB {where} to be had, {RESERVE:.0%} kept back"
    if row is None:
        last = found[-1]
        return (
            f"train.fit is auto: nothing is predicted to fit, {last.fit.micro_batch} at once takes "
            f"{last.need.total / 2**30:.1f} GiB ({free}); trying it"
        )
    larger = [each for each in found[: found.index(row)] if each.open and each.checkpointing == row.checkpointing]
    why = f"; {_named(larger[-1])} would take {larger[-1].need.total / 2**30:.1f}" if larger else ""
    given = row.fit == (config.batch_size, config.accumulation)
    batch = "as given" if given else f"the same batch of {row.fit.batch}"
    return (
        f"train.fit is auto: {_named(row)}, {row.fit.accumulation} forward passes a step, {batch}: predicted "
        f"{row.need.total / 2**30:.1f} GiB{why} ({free})"
    )


def _named(row: Row) -> str:
    return f"{row.fit.micro_batch} at once {'with' if row.checkpointing else 'without'} checkpointing"


def _own() -> int:
    """Bytes that this process has before there is a model, with the libraries that it will import."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import psutil
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: F401

    return int(psutil.Process().memory_info().rss)
