"""What the trainer does besides training: seal its checkpoints, and write every logged number as one JSON line."""

import math
import time
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from tasks.training.checkpoints import seal


class SealCheckpoints(TrainerCallback):
    """Seal each checkpoint once the trainer has written all of it."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class WriteMetrics(TrainerCallback):
    """Append what the trainer logs; stop at a loss that is no number, before it spoils a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the step between log lines, too, for the bar; at most once a second."""
        if time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            self._write({"step": state.global_step, "max_steps": state.max_steps})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        line = {"step": state.global_step, "max_steps": state.max_steps, **(logs or {})}
        self._write(line)
        loss = line.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss} at step {state.global_step}")

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
