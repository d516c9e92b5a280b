"""Short trainings of a toy model, in this process and in others."""

import json
import subprocess
import sys
from pathlib import Path

from tasks.training.config import TrainConfig

QUICK = TrainConfig(
    batch_size=1, accumulation=1, epochs=2, save_steps=4, logging_steps=2, eval_steps=8, learning_rate=1e-3
)


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


RUN = """
import json, sys
from pathlib import Path
from tasks.train import train
from tests.tasks.training.trained import QUICK
folder = Path(sys.argv[1])
inputs = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}
(folder / "work").mkdir()
(folder / "out").mkdir()
train(QUICK, **inputs, work=folder / "work", out=folder / "out")
"""


def start(inputs: dict[str, Path], folder: Path, code: str = RUN, **options) -> "subprocess.Popen[bytes]":
    places = json.dumps({name: str(path) for name, path in inputs.items()})
    return subprocess.Popen([sys.executable, "-c", code, str(folder), places], **options)


def children_of(work: Path) -> list[str]:
    """Training children that name this work folder, from /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(work).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found
