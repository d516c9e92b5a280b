"""Start the training child, show its progress, and leave no orphan behind."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import orjson

from tasks.engine.errors import UserError
from tasks.engine.progress import TrainingProgress, say
from tasks.training.failures import KINDS, LostGpu, gpu_failure
from tasks.training.fit import OutOfMemory, current_fit, per_process, save_fit
from tasks.training.job import Job
from tasks.training.outputs import last_intact, rewind, step_of

# How OpenMP's threads wait for work. Without spinning the tiny model trains at half the speed (1,072 tokens/s against
# 2,309 on two free cores); with GNU's default of endless spins a busy machine starves. 10,000 spins gave 2,193.
SHORT_SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
POLL = 0.2  # seconds between looks at the child's metrics
# For train.deterministic: cuBLAS and FlashAttention read these before a process starts to use CUDA. transformers' own
# full_determinism comes after that, and takes the slower of cuBLAS's two workspaces.
DETERMINISTIC = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "FLASH_ATTENTION_DETERMINISTIC": "1"}
GRACE = 8.0  # seconds that a child has to die of SIGTERM before SIGKILL; Prefect gives a cancelled flow 10


def run_child(job: Job, *, module: str) -> None:
    """Run ``python -m module job.json`` to its end, relaying its metrics to the terminal and to Prefect.

    If memory runs out and `train.fit` is auto, run it again from the last checkpoint with smaller forward passes; if
    the GPU is lost, run it again once. A retry of the flow could do no more: its processes are on this machine, too.
    """
    job = per_process(job)
    job_file = job.work / "job.json"
    job_file.write_text(job.model_dump_json())
    lost: LostGpu | None = None
    lost_at = ""
    with TrainingProgress() as progress:
        while error := _attempt(job, job_file, module, progress):
            resumes_at = _last_step(job)
            if isinstance(error, OutOfMemory) and (smaller := current_fit(job).smaller()) and job.config.fit == "auto":
                save_fit(job, smaller)
                progress.say(
                    f"{error.what}. train.fit is auto: continuing with {smaller.micro_batch} at once and "
                    f"{smaller.accumulation} forward passes a step, the same batch of {smaller.batch}"
                    f"{_on_each(job)}, from {resumes_at}"
                )
            elif lost and lost_at == resumes_at:  # no progress since
                second = error.what if isinstance(error, UserError) else str(error)
                raise LostGpu(f"{lost.what}; then, in a new process: {second}", lost.remedy) from error
            elif isinstance(error, LostGpu):
                lost, lost_at = error, resumes_at
                if job.config.model.device == "auto":  # a process that finds no GPU would train on the CPU
                    model = job.config.model.model_copy(update={"device": "cuda"})
                    job_file.write_text(job.with_config(model=model).model_dump_json())
                progress.say(f"{error.what}. Trying once more in a new process, from {resumes_at}")
            else:
                raise error


def _attempt(job: Job, job_file: Path, module: str, progress: TrainingProgress) -> Exception | None:
    """Run one child from the last checkpoint; returns why it failed, if it did.

    The child stays in our process group, so that a signal to the group reaches it. It dies with us by PDEATHSIG, which
    comes when the thread that started it ends; this thread waits here until the child has ended.
    """
    job.failure.unlink(missing_ok=True)
    rewind(job.metrics, last_intact(job.checkpoints))
    progress.restart()
    seen = _relay(job.metrics, 0, progress)
    progress.begin()
    environment = {**SHORT_SPIN, "TOKENIZERS_PARALLELISM": "false"}
    environment |= (DETERMINISTIC if job.config.deterministic else {}) | os.environ
    with job.log.open("ab") as log:
        start = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(job_file), str(os.getpid())], stdout=log, stderr=log, env=environment
        )
        try:
            while (code := child.poll()) is None:
                seen = _relay(job.metrics, seen, progress)
                time.sleep(POLL)
            _relay(job.metrics, seen, progress)
        finally:
            _end(child)
    return _failure(job, code, start) if code else None


def _on_each(job: Job) -> str:
    count = job.config.distributed.processes
    return f" on each of {count}" if job.config.distributed.strategy != "none" else ""


def _last_step(job: Job) -> str:
    checkpoint = last_intact(job.checkpoints)
    return f"step {step_of(checkpoint)}" if checkpoint else "the start"


def _relay(metrics: Path, seen: int, progress: TrainingProgress) -> int:
    """Pass on the lines after byte `seen`; returns how far it has read."""
    if not metrics.exists():
        return seen
    with metrics.open("rb") as file:
        file.seek(seen)
        for line in file:
            if not line.endswith(b"\n"):
                break
            seen += len(line)
            progress.update(orjson.loads(line))
    return seen


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Terminate the child and wait for it; a second signal to us meanwhile kills it at once."""
    if child.poll() is not None:
        return
    try:
        child.terminate()
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _failure(job: Job, code: int, start: int) -> Exception:
    """Why a child failed: by what it wrote, by its exit code, or by its log from byte `start` on."""
    if job.failure.exists():
        failure = orjson.loads(job.failure.read_bytes())
        return KINDS[failure.pop("kind")](**failure)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return UserError(
            "the training process was killed (SIGKILL); the usual cause is that the machine ran out of memory",
            "run again to continue from the last checkpoint; if it happens again, lower train.batch_size",
        )
    with job.log.open(encoding="utf-8", errors="replace") as log:
        log.seek(start)
        tail = list(deque((line.rstrip() for line in log if line.strip()), 30))
    say("\n".join([f"the end of {job.log}:", *tail]))  # for the log; the error becomes a run's state message
    if lost := gpu_failure("\n".join(tail), job):  # CUDA and NCCL may end the process themselves
        return lost
    return RuntimeError(f"training failed with exit code {code}: {tail[-1] if tail else 'it printed nothing'}")
