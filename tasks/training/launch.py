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
from tasks.progress import TrainingProgress
from tasks.training.checkpoints import last_whole, rewind
from tasks.training.job import Job

# How OpenMP's threads wait for work. Without spinning the tiny model trains at half the speed (1,072 tokens/s against
# 2,309 on two free cores); with GNU's default of endless spins a busy machine starves. 10,000 spins gave 2,193.
SHORT_SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
POLL = 0.2  # seconds between looks at the child's metrics
GRACE = 8.0  # seconds that a child has to die of SIGTERM before SIGKILL; Prefect gives a cancelled flow 10


def watch(job: Job, *, module: str) -> None:
    """Run ``python -m module job.json`` to its end, relaying its metrics to the terminal and to Prefect.

    The child stays in our process group, so that a signal to the group reaches it, and dies with us by PDEATHSIG.
    """
    job.failure.unlink(missing_ok=True)
    rewind(job.metrics, last_whole(job.checkpoints))
    told = job.work / "job.json"
    told.write_text(job.model_dump_json())
    environment = {**SHORT_SPIN, "TOKENIZERS_PARALLELISM": "false", **os.environ}
    with job.log.open("ab") as log, TrainingProgress() as progress:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(told), str(os.getpid())], stdout=log, stderr=log, env=environment
        )
        try:
            seen = 0
            while (code := child.poll()) is None:
                seen = _relay(job.metrics, seen, progress)
                time.sleep(POLL)
            _relay(job.metrics, seen, progress)
        finally:
            _end(child)
    if code:
        raise _explained(job, code)


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


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _explained(job: Job, code: int) -> Exception:
    if job.failure.exists():
        return UserError(**orjson.loads(job.failure.read_bytes()))
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return UserError(
            "the training process was killed (SIGKILL); the usual cause is that the machine ran out of memory",
            "run again to go on from the last checkpoint; if it happens again, lower train.batch_size",
        )
    with job.log.open(encoding="utf-8", errors="replace") as log:
        tail = "".join(deque(log, 30))
    return RuntimeError(f"training failed with exit code {code}; the end of {job.log}:\n{tail}")
