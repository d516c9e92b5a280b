"""What a training fails of and a user can mend, in words."""

import contextlib
from pickle import UnpicklingError
from typing import Any

from tasks.engine.errors import UserError
from tasks.training.checkpoints import last_whole, step_of
from tasks.training.fitting.fit import OutOfMemory, fit_of, out_of_memory
from tasks.training.job import Job

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
# What CUDA, cuBLAS, NCCL and the driver say of it, whatever the class: cudaGetErrorString, ncclGetErrorString.
GPU_LOST = (
    "unspecified launch failure",
    "illegal memory access was encountered",
    "illegal instruction was encountered",
    "CUDA error: misaligned address",
    "hardware stack error",
    "the launch timed out and was terminated",
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "Invalid access of peer GPU memory",
    "fallen off the bus",
    "GPU is lost",
    "no CUDA-capable device is detected",
    "CUDA error: unknown error",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "NCCL error",
    "ncclUnhandledCudaError",
    "ncclSystemError",
    "ncclRemoteError",
    "ncclInternalError",
    "Watchdog caught collective operation timeout",
)
ASSERTION = "device-side assert"
ALWAYS_THE_SAME = ("does not have a deterministic implementation", "CUBLAS_WORKSPACE_CONFIG")


class LostGpu(UserError):
    """A GPU, or its link to another, failed under a training; a new process may find it well again."""


# As a child's failure is told to its parent.
KINDS: dict[str, type[UserError]] = {"mend": UserError, "memory": OutOfMemory, "gpu": LostGpu}


@contextlib.contextmanager
def explained(job: Job) -> Any:
    """Turn the failures of a training that a user can mend into words."""
    try:
        yield
    except UserError:
        raise
    except UnpicklingError as error:  # the trainer reads checkpoints with weights_only
        raise UserError(
            f"a checkpoint in {job.checkpoints} holds more than tensors and numbers, which could run code",
            "find out who wrote it there, then remove that folder: the training begins anew",
        ) from error
    except FloatingPointError as error:
        raise UserError(str(error), "lower train.learning_rate, or set train.max_grad_norm to 0.3 or less") from error
    except Exception as error:
        if _ran_out_of_memory(error):
            raise out_of_memory(job.config, fit_of(job), error) from error
        if told := gpu_failure(str(error), job) or _without_deterministic_form(error):
            raise told from error
        raise


@contextlib.contextmanager
def model_explained(job: Job) -> Any:
    """As above, before there is anything of a batch: no smaller forward pass helps."""
    config = job.config
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not _ran_out_of_memory(error):
            if told := gpu_failure(str(error), job) or _without_deterministic_form(error):
                raise told from error
            raise
        smaller = "" if config.model.quantization != "none" else "set train.model.quantization to nf4, "
        raise UserError(
            f"the base model itself does not fit into memory: {error}",
            f"{smaller}free memory that others hold, or take a smaller base model or a larger machine",
        ) from error


def gpu_failure(said: str, job: Job) -> UserError | None:
    """What to do about a GPU that failed, by what was said; None if it was not the GPU.

    CUDA tells of most faults late and of all in one class, and of some only by the words with which it ends the
    process: so the words decide.
    """
    if line := next((line for line in said.splitlines() if ASSERTION in line), None):
        return UserError(
            f"an assertion failed on the GPU: {line.strip()[:300]}",
            "most often a token of the training data is none of the base model's: see that base.model's tokenizer and "
            "weights belong together. CUDA_LAUNCH_BLOCKING=1 in the worker's environment has the log name the place",
        )
    lines = (line for line in said.splitlines() if any(words.lower() in line.lower() for words in GPU_LOST))
    if (line := next(lines, None)) is None:
        return None
    checkpoint = last_whole(job.checkpoints)
    kept = f"the checkpoint of step {step_of(checkpoint)} is kept" if checkpoint else "there is no checkpoint yet"
    return LostGpu(
        f"the GPU was lost: {line.strip()[:300]}",
        "look at `nvidia-smi`, and for Xid in `dmesg`; restart the worker, and the machine if the GPU is not back; if "
        f"it happens again take another card (CUDA_VISIBLE_DEVICES). Then run again: {kept}",
    )


def _without_deterministic_form(error: Exception) -> UserError | None:
    """torch refuses, under train.deterministic, what has no form that always gives the same."""
    import torch

    if not torch.are_deterministic_algorithms_enabled() or not any(words in str(error) for words in ALWAYS_THE_SAME):
        return None
    return UserError(
        "train.deterministic is true, and a part of this training has no deterministic form here: "
        f"{str(error).strip().splitlines()[0][:300]}",
        "set train.deterministic to false, or train.model.attention to eager if attention is named; "
        "CUBLAS_WORKSPACE_CONFIG in the worker's environment must be :4096:8, :16:8 or not set",
    )


def _ran_out_of_memory(error: Exception) -> bool:
    """CUDA's own error, and those by which torch's and bitsandbytes' allocators say the same in words."""
    import torch

    said = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)
