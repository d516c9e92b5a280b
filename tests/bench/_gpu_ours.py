"""The train step on a built dataset, its child under the clock: ``python -m tests.bench._gpu_ours JOB``.

Does what `tasks.train.train` does, and has it start another module, which is the same loop and a clock.
JOB is JSON: {"config": settings of `train`, "train": a built dataset, "base", "out"}. Prints what the step measures,
and what train.fit chose.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(config: dict[str, Any], train: str, base: str, out: str) -> None:
    from tasks.training.config import TrainConfig
    from tasks.training.job import Job
    from tasks.training.launch import run_child

    work, made = Path(out) / "work", Path(out) / "made"
    work.mkdir(parents=True)
    made.mkdir()
    given = TrainConfig.model_validate(config)
    job = Job(config=given, train=Path(train), heldout=None, base=Path(base), work=work, out=made)
    run_child(job, module="tests.bench._gpu_loop")
    print(json.dumps(json.loads((work / "measured.json").read_bytes()) | json.loads(job.fit.read_bytes())))


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
