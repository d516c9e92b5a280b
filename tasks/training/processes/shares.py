"""Each process's share of the effective batch."""

import orjson

from tasks.engine.errors import UserError
from tasks.training.config import TrainConfig
from tasks.training.fitting.fit import Fit
from tasks.training.job import Job


def shared(job: Job) -> Job:
    """The job as each process is told it: its share of the batch, and how many there are, as a number.

    What an earlier run chose for another number of processes is forgotten.
    """
    config = job.config
    count = processes(config)
    fit = share(Fit(config.batch_size, config.accumulation), count)
    if job.fit.exists():
        told = orjson.loads(job.fit.read_bytes())
        if told["micro_batch"] * told["accumulation"] != fit.batch:
            job.fit.unlink()
    strategy = "none" if count == 1 else config.distributed.strategy
    distributed = config.distributed.model_copy(update={"strategy": strategy, "processes": count})
    update = {"batch_size": fit.micro_batch, "accumulation": fit.accumulation, "distributed": distributed}
    return job.model_copy(update={"config": config.model_copy(update=update)})


def share(fit: Fit, count: int) -> Fit:
    """The same batch divided by `count`, with as many sequences at once as divide it, up to the given."""
    if fit.batch % count:
        fewer = next(n for n in range(count, 0, -1) if fit.batch % n == 0)
        raise UserError(
            f"train.batch_size × train.accumulation is {fit.batch}, which {count} processes cannot share evenly",
            f"make it a multiple of {count}, which is another recipe, or set train.distributed.processes to {fewer}",
        )
    batch = fit.batch // count
    micro = next(size for size in range(fit.micro_batch, 0, -1) if batch % size == 0)
    return Fit(micro, batch // micro)


def processes(config: TrainConfig) -> int:
    """How many are to train. UserError for more than there are GPUs, and for `auto` without one."""
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
