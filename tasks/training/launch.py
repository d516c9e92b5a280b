"""Start the training child, show how it goes, and leave no orphan behind."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import orjson

from tasks.errors import UserError
from tasks.progress import TrainingProgress, say
from tasks.training import launcher
from tasks.training.checkpoints import last_whole, rewind, step_of
from tasks.training.fit import OutOfMemory, fit_of, keep
from tasks.training.job import Job
from tasks.training.shares import shared

# How OpenMP's threads wait for work. Without spinning the tiny model trains at half the speed (1,072 tokens/s against
# 2,309 on two free cores); with GNU's default of endless spins a busy machine starves. 10,000 spins gave 2,193.
SHORT_SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
POLL = 0.2  # seconds between looks at the child's metrics
GRACE = 8.0  # seconds that a child has to die of SIGTERM before SIGKILL; Prefect gives a cancelled flow 10


def watch(job: Job, *, module: str) -> None:
    """Run ``python -m module job.json`` to its end, relaying its metrics to the terminal and to Prefect.

    Of several processes it starts the launcher that starts them; `module` is of one.
    Where memory runs out and `train.fit` is auto, it runs again from the last checkpoint, with smaller forward passes.
    """
    job = shared(job)
    if job.config.distributed.strategy != "none":
        module = launcher.__name__
    told = job.work / "job.json"
    told.write_text(job.model_dump_json())
    with TrainingProgress() as progress:
        while error := _attempt(job, told, module, progress):
            fit = fit_of(job)
            smaller = fit.smaller()
            if not (smaller and isinstance(error, OutOfMemory) and job.config.fit == "auto"):
                raise error
            keep(job, smaller)
            progress.say(
                f"{error.what}. train.fit is auto: on with {smaller.micro_batch} at once and {smaller.accumulation} "
                f"forward passes a step, the same batch of {fit.batch}{_each(job)}, from {_whence(job)}"
            )


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
    environment = {**SHORT_SPIN, "TOKENIZERS_PARALLELISM": "false", **os.environ}
    with job.log.open("ab") as log:
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
    return _explained(job, code) if code else None


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


def _explained(job: Job, code: int) -> Exception:
    if job.failure.exists():
        told = orjson.loads(job.failure.read_bytes())
        kind = OutOfMemory if told.pop("out_of_memory") else UserError
        return kind(**told)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return UserError(
            "the training process was killed (SIGKILL); the usual cause is that the machine ran out of memory",
            "run again to go on from the last checkpoint; if it happens again, lower train.batch_size",
        )
    with job.log.open(encoding="utf-8", errors="replace") as log:
        tail = list(deque((line.rstrip() for line in log if line.strip()), 30))
    say("\n".join([f"the end of {job.log}:", *tail]))  # for the log; the error is a run's state message
    return RuntimeError(f"training failed with exit code {code}: {tail[-1] if tail else 'it said nothing'}")
