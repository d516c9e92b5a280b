"""What the trainer does besides training: seal its checkpoints, write every logged number as one JSON line, judge."""

import math
import time
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from tasks.training.checkpoints import seal
from tasks.training.config import TrainConfig
from tasks.training.processes.distributed import leads, meet


class SealCheckpoints(TrainerCallback):
    """Seal each checkpoint once the trainer has written all of it, unless its adapter is spoiled.

    The last step is always saved, and its loss not always logged, so that WriteMetrics would not see it.
    """

    def on_save(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        trained = (each for each in told["model"].parameters() if each.requires_grad)
        if not all(bool(each.isfinite().all()) for each in trained):
            raise FloatingPointError(f"the adapter has weights that are no numbers after step {state.global_step}")
        meet()  # each process writes the state of its own random numbers
        if leads():
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
        if not leads():
            return
        with self.path.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")


class Judge(TrainerCallback):
    """Have the best adapter so far saved, and training stopped once `patience` held-out losses were no better.

    transformers' EarlyStoppingCallback counts in itself, and a resumed training would stop at another step. This one
    counts in the trainer's state, which every checkpoint has.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.patience = config.patience
        self.best = config.keep == "best"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log before what may become a checkpoint, or the mean loss since the last line would be lost at a resume."""
        control.should_log |= control.should_evaluate and self.best

    def on_evaluate(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        """Called before the trainer notes this loss as its best."""
        if told["metrics"]["eval_loss"] < (math.inf if state.best_metric is None else state.best_metric):
            control.should_save |= self.best
            return
        best = state.best_global_step or 0
        since = sum("eval_loss" in line and line["step"] > best for line in state.log_history)
        control.should_training_stop |= 0 < self.patience <= since
