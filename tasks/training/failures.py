"""Failures of a training that a user can fix, as errors with a remedy."""

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pickle import UnpicklingError

from tasks.engine.errors import UserError
from tasks.training.fit import OutOfMemory, current_fit, out_of_memory
from tasks.training.job import Job
from tasks.training.outputs import last_intact, step_of

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
ASSERTION = "device-side assert"
NOT_DETERMINISTIC = ("does not have a deterministic implementation", "CUBLAS_WORKSPACE_CONFIG")


@cache
def _gpu_lost() -> list[str]:
    import yaml

    listed: list[str] = yaml.safe_load(Path(__file__).with_name("gpu_lost.yaml").read_text())
    return listed


class LostGpu(UserError):
    """A GPU, or its link to another, failed during a training; a new process may find it working again."""


# The kinds of a failure that a child writes for its parent.
KINDS: dict[str, type[UserError]] = {"config": UserError, "memory": OutOfMemory, "gpu": LostGpu}


@contextlib.contextmanager
def explain_failures(job: Job, *, loading: bool = False) -> Iterator[None]:
    """Raise failures that a user can fix as UserErrors. While `loading`, smaller forward passes save no memory."""
    try:
        yield
    except UserError:
        raise
    except UnpicklingError as error:  # the trainer reads checkpoints with weights_only
        raise UserError(
            f"a checkpoint in {job.checkpoints} holds more than tensors and numbers, which could run code",
            "find out who wrote it there, then remove that folder: the training starts again",
        ) from error
    except FloatingPointError as error:
        raise UserError(str(error), "lower train.learning_rate, or set train.max_grad_norm to 0.3 or less") from error
    except Exception as error:
        if _ran_out_of_memory(error):
            raise (
                _base_too_large(job, error) if loading else out_of_memory(job.config, current_fit(job), error)
            ) from error
        if explained := gpu_failure(str(error), job) or _not_deterministic(error):
            raise explained from error
        raise


def _base_too_large(job: Job, error: Exception) -> UserError:
    smaller = "" if job.config.model.quantization != "none" else "set train.model.quantization to nf4, "
    return UserError(
        f"the base model itself does not fit into memory: {error}",
        f"{smaller}free memory that others hold, or take a smaller base model or a larger machine",
    )


def gpu_failure(message: str, job: Job) -> UserError | None:
    """The error for a GPU that failed, by what was printed; None if it was not the GPU.

    CUDA reports most faults late and all in one class, and some only in the text with which it aborts the process, so
    the text decides.
    """
    if line := next((line for line in message.splitlines() if ASSERTION in line), None):
        return UserError(
            f"an assertion failed on the GPU: {line.strip()[:300]}",
            "most often the training data holds a token that the base model lacks: check that base.model's tokenizer "
            "and weights belong together. CUDA_LAUNCH_BLOCKING=1 in the worker's environment makes the log name the "
            "place",
        )
    lines = (line for line in message.splitlines() if any(words.lower() in line.lower() for words in _gpu_lost()))
    if (line := next(lines, None)) is None:
        return None
    checkpoint = last_intact(job.checkpoints)
    kept = f"the checkpoint of step {step_of(checkpoint)} is kept" if checkpoint else "there is no checkpoint yet"
    return LostGpu(
        f"the GPU was lost: {line.strip()[:300]}",
        "look at `nvidia-smi`, and for Xid in `dmesg`; restart the worker, and the machine if the GPU is not back; if "
        f"it happens again take another card (CUDA_VISIBLE_DEVICES). Then run again: {kept}",
    )


def _not_deterministic(error: Exception) -> UserError | None:
    """Under train.deterministic torch refuses an operation that has no deterministic form."""
    import torch

    if not torch.are_deterministic_algorithms_enabled() or not any(words in str(error) for words in NOT_DETERMINISTIC):
        return None
    return UserError(
        "train.deterministic is true, and a part of this training has no deterministic form here: "
        f"{str(error).strip().splitlines()[0][:300]}",
        "set train.deterministic to false, or train.model.attention to eager if attention is named; "
        "CUBLAS_WORKSPACE_CONFIG in the worker's environment must be :4096:8, :16:8 or not set",
    )


def _ran_out_of_memory(error: Exception) -> bool:
    """CUDA's own error, and the messages of torch's and bitsandbytes' allocators."""
    import torch

    by_message = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return by_message or isinstance(error, torch.OutOfMemoryError | MemoryError)
