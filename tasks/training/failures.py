"""What a training fails of and a user can mend, in words."""

import contextlib
from pickle import UnpicklingError
from typing import Any

from tasks.errors import UserError
from tasks.training.config import TrainConfig
from tasks.training.fit import fit_of, out_of_memory
from tasks.training.job import Job

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


@contextlib.contextmanager
def explained(job: Job) -> Any:
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
def model_explained(config: TrainConfig) -> Any:
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
