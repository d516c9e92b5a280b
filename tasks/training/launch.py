"""Start the training child, show how it goes, and leave no orphan behind."""

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
from tasks.training.checkpoints import last_whole, rewind, step_of
from tasks.training.failures import KINDS, LostGpu, gpu_failure
from tasks.training.fitting.fit import OutOfMemory, fit_of, keep
from tasks.training.job import Job
from tasks.training.processes import launcher
from tasks.training.processes.shares import shared

# How OpenMP's threads wait for work. Without spinning the tiny model trains at half the speed (1,072 tokens/s against
# 2,309 on two free cores); with GNU's default of endless spins a busy machine starves. 10,000 spins gave 2,193.
SHORT_SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
POLL = 0.2  # seconds between looks at the child's metrics
# train.deterministic, for cuBLAS and FlashAttention: before a process begins with CUDA. transformers' own
# full_determinism comes behind that, and takes the slower one of the two workspaces.
DETERMINISTIC = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "FLASH_ATTENTION_DETERMINISTIC": "1"}
GRACE = 8.0  # seconds that a child has to die of SIGTERM before SIGKILL; Prefect gives a cancelled flow 10


def watch(job: Job, *, module: str) -> None:
    """Run ``python -m module job.json`` to its end, relaying its metrics to the terminal and to Prefect.

    Of several processes it starts the launcher that starts them; `module` is of one.
    Where memory runs out and `train.fit` is auto, it runs again from the last checkpoint, with smaller forward passes;
    likewise, once, where the GPU was lost. No retry of the flow's does more: its processes are of this machine, too.
    """
    job = shared(job)
    if job.config.distributed.strategy != "none":
        module = launcher.__name__
    told = job.work / "job.json"
    told.write_text(job.model_dump_json())
    lost: tuple[LostGpu, str] | None = None  # and from where it went on
    with TrainingProgress() as progress:
        while error := _attempt(job, told, module, progress):
            whence = _whence(job)
            if isinstance(error, OutOfMemory) and (smaller := fit_of(job).smaller()) and job.config.fit == "auto":
                keep(job, smaller)
                progress.say(
                    f"{error.what}. train.fit is auto: on with {smaller.micro_batch} at once and "
                    f"{smaller.accumulation} forward passes a step, the same batch of {smaller.batch}{_each(job)}, "
                    f"from {whence}"
                )
            elif lost and lost[1] == whence:  # no further than that
                raise LostGpu(f"{lost[0].what}; then, in a new process: {_brief(error)}", lost[0].remedy) from error
            elif isinstance(error, LostGpu):
                lost = (error, whence)
                told.write_text(_on_a_gpu(job).model_dump_json())
                progress.say(f"{error.what}. Once more in a new process, from {whence}")
            else:
                raise error


def _on_a_gpu(job: Job) -> Job:
    """With `auto` a process that finds no GPU any more would go on with the CPU."""
    device = "cuda" if job.config.model.device == "auto" else job.config.model.device
    model = job.config.model.model_copy(update={"device": device})
    return job.model_copy(update={"config": job.config.model_copy(update={"model": model})})


def _brief(error: Exception) -> str:
    return error.what if isinstance(error, UserError) else str(error)


def _attempt(job: Job, told: Path, module: str, progress: TrainingProgress) -> Exception | None:
    """One child, from the last checkpoint on; returns why it failed, if it did.

    It stays in our process group, so that a signal to the group reaches it, and dies with us by PDEATHSIG: that comes
    when the thread ends which started it, and this one stays here until the child has ended.
    """
    job.failure.unlink(missing_ok=True)
    rewind(job.metrics, last_whole(job.checkpoints))
    progress.restart()
    seen = _relay(job.metrics, 0, progress)
    progress.begin()
    environment = {**SHORT_SPIN, "TOKENIZERS_PARALLELISM": "false"}
    environment |= (DETERMINISTIC if job.config.deterministic else {}) | os.environ
    with job.log.open("ab") as log:
        said = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(told), str(os.getpid())], stdout=log, stderr=log, env=environment
        )
        try:
            while (code := child.poll()) is None:
                seen = _relay(job.metrics, seen, progress)
                time.sleep(POLL)
            _relay(job.metrics, seen, progress)
        finally:
            _end(child)
    return _explained(job, code, said) if code else None


def _each(job: Job) -> str:
    count = job.config.distributed.processes
    return f" on each of {count}" if job.config.distributed.strategy != "none" else ""


def _whence(job: Job) -> str:
    checkpoint = last_whole(job.checkpoints)
    return f"step {step_of(checkpoint)}" if checkpoint else "the start"


def _relay(metrics: Path, seen: int, progress: TrainingProgress) -> int:
    """Pass on the lines that came since byte `seen`; returns how far it has read."""
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
    """Have it end, and wait for that; a second signal to us, while we wait, ends it at once."""
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


def _explained(job: Job, code: int, said: int) -> Exception:
    """Why a child failed: by its own word, by how it ended, or by what its log says from byte `said` on."""
    if job.failure.exists():
        told = orjson.loads(job.failure.read_bytes())
        return KINDS[told.pop("kind")](**told)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return UserError(
            "the training process was killed (SIGKILL); the usual cause is that the machine ran out of memory",
            "run again to go on from the last checkpoint; if it happens again, lower train.batch_size",
        )
    with job.log.open(encoding="utf-8", errors="replace") as log:
        log.seek(said)
        tail = list(deque((line.rstrip() for line in log if line.strip()), 30))
    say("\n".join([f"the end of {job.log}:", *tail]))  # for the log; the error is a run's state message
    if lost := gpu_failure("\n".join(tail), job):  # CUDA and NCCL may end the process themselves
        return lost
    return RuntimeError(f"training failed with exit code {code}: {tail[-1] if tail else 'it said nothing'}")
