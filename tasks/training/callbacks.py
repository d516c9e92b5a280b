"""What the trainer does besides training: seal its checkpoints, write every logged value, stop when it gets worse."""

import math
import time
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from tasks.training.config import TrainConfig
from tasks.training.distributed import barrier, is_leader
from tasks.training.outputs import seal


class SealCheckpoints(TrainerCallback):
    """Seal each checkpoint once it is written completely, unless its adapter holds NaN or infinity.

    The last step is always saved, but its loss not always logged, so WriteMetrics may not see it.
    """

    def on_save(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        trained = (each for each in context["model"].parameters() if each.requires_grad)
        if not all(bool(each.isfinite().all()) for each in trained):
            raise FloatingPointError(f"the adapter has weights that are not finite after step {state.global_step}")
        barrier()  # each process writes the state of its own random numbers
        if is_leader():
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class WriteMetrics(TrainerCallback):
    """Append what the trainer logs as JSON lines; stop at a loss that is not finite, before it reaches a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the step between log lines, too, for the progress bar; at most once a second."""
        if time.monotonic() - self.written > 1:
            self.written = time.monotonic()
            self._write({"step": state.global_step, "max_steps": state.max_steps})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        line = {"step": state.global_step, "max_steps": state.max_steps, **(logs or {})}
        self._write(line)
        loss = line.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss} at step {state.global_step}")

    def _write(self, line: dict[str, Any]) -> None:
        if is_leader():
            with self.path.open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")


class KeepBest(TrainerCallback):
    """Save the best adapter so far if `keep` is best; stop after `patience` held-out losses that are no better.

    transformers' EarlyStoppingCallback counts in itself, so a resumed training would stop at another step. This one
    counts in the trainer's state, which every checkpoint holds.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.patience = config.patience
        self.saves = config.keep == "best"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Log before a possible checkpoint, or a resume would lose the mean loss since the last line."""
        control.should_log |= control.should_evaluate and self.saves

    def on_evaluate(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        """Called before the trainer notes this loss as its best."""
        if context["metrics"]["eval_loss"] < (math.inf if state.best_metric is None else state.best_metric):
            control.should_save |= self.saves
            return
        best = state.best_global_step or 0
        since_best = sum("eval_loss" in line and line["step"] > best for line in state.log_history)
        control.should_training_stop |= 0 < self.patience <= since_best
