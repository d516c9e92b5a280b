"""A training job: paths and a config, passed to the training child as one JSON file."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from tasks.training.config import TrainConfig
from tasks.training.distributed import is_leader


class Job(BaseModel, frozen=True, extra="forbid"):
    """One training. `work` outlives a crash; it holds checkpoints, the metrics so far and the child's log."""

    config: TrainConfig
    train: Path
    heldout: Path | None
    base: Path
    start: Path | None = None  # an adapter to continue from
    work: Path
    out: Path

    def with_config(self, **changes: Any) -> "Job":
        """The same job with these fields of the config changed."""
        return self.model_copy(update={"config": self.config.model_copy(update=changes)})

    @property
    def checkpoints(self) -> Path:
        return self.work / "checkpoints"

    @property
    def initial(self) -> Path:
        """The fresh adapter, if its initialization changed the base's weights; saving subtracts it from the result."""
        return self.work / "initial"

    @property
    def metrics(self) -> Path:
        """JSON lines, appended during training: {"step", "loss", …}, {"step", "eval_loss", …} and messages."""
        return self.work / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.work / "train.log"

    @property
    def fit(self) -> Path:
        """{"micro_batch", "accumulation"}, with "checkpointing" if train.fit chose it, without if memory ran out."""
        return self.work / "fit.json"

    @property
    def failure(self) -> Path:
        """Written by the child if the user can fix what went wrong: {"kind", "what", "remedy"}."""
        return self.work / "failure.json"

    def say(self, text: str) -> None:
        """Append a message to the metrics; the parent shows it. Of several processes only the leader writes."""
        if is_leader():
            with self.metrics.open("ab") as file:
                file.write(orjson.dumps({"step": 0, "max_steps": 0, "message": text}) + b"\n")
