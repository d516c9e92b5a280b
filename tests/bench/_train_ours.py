"""The train step on a built dataset: ``python -m tests.bench._train_ours JOB``.

JOB is JSON: {"config": settings of `train`, "train": a built dataset, "base", "out"}. Prints {"seconds", "tokens",
"examples"}; the seconds are those of the training loop, as the course's.
"""

import json
import sys
from pathlib import Path


def main(config: dict[str, object], train: str, base: str, out: str) -> None:
    from tasks.data.dataset.folder import Lengths
    from tasks.train import train as step
    from tasks.training.config import TrainConfig

    work, made = Path(out) / "work", Path(out) / "made"
    work.mkdir(parents=True)
    made.mkdir()
    given = TrainConfig.model_validate(config)
    measured = step(given, train=Path(train), heldout=None, base=Path(base), work=work, out=made)
    wholes = Lengths.of(Path(train)).wholes
    print(json.dumps({"seconds": measured["train_seconds"], "tokens": int(wholes.sum()), "examples": len(wholes)}))


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
