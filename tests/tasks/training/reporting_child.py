"""The training child, which leaves word of how it was started: its environment, and whether torch is deterministic."""

import json
import os
import sys
from pathlib import Path

import torch

from tasks.training import loop


def main(job_file: Path, parent: int) -> None:
    loop.main(job_file, parent)
    word = {"environment": dict(os.environ), "deterministic": torch.are_deterministic_algorithms_enabled()}
    job_file.with_name("started.json").write_text(json.dumps(word))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
