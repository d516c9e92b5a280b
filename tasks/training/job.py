"""What the parent tells the training child: paths and a config, as one JSON file."""

from pathlib import Path

import orjson
from pydantic import BaseModel

from tasks.training.config import TrainConfig
from tasks.training.processes.distributed import leads


class Job(BaseModel, frozen=True, extra="forbid"):
    """One training. `work` outlives a crash and holds checkpoints, the metrics so far and the child's log."""

    config: TrainConfig
    train: Path
    heldout: Path | None
    base: Path
    start: Path | None = None  # an adapter to go on from
    work: Path
    out: Path

    @property
    def checkpoints(self) -> Path:
        return self.work / "checkpoints"

    @property
    def initial(self) -> Path:
        """The fresh adapter, where it was taken out of the base's weights: what to take off the trained one."""
        return self.work / "initial"

    @property
    def metrics(self) -> Path:
        """JSON lines, appended as training goes: {"step", "loss", …} and {"step", "eval_loss", …}."""
        return self.work / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.work / "train.log"

    @property
    def fit(self) -> Path:
        """{"micro_batch", "accumulation"} that train.fit chose, with "checkpointing", or halved when memory ran out."""
        return self.work / "fit.json"

    @property
    def failure(self) -> Path:
        """Written by the child when the user can mend what went wrong: {"kind", "what", "remedy"}."""
        return self.work / "failure.json"

    def tell(self, text: str) -> None:
        """Tell the person who watches: the parent reads the metrics as they come. Of several processes one tells."""
        if not leads():
            return
        with self.metrics.open("ab") as file:
            file.write(orjson.dumps({"step": 0, "max_steps": 0, "said": text}) + b"\n")
