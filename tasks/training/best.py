"""The held-out loss as a judge: when to stop, and which checkpoint to keep."""

from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.training.config import TrainConfig
from tasks.training.job import Job


def judged(config: TrainConfig) -> bool:
    return config.keep == "best" or config.patience > 0


def require_heldout(config: TrainConfig, heldout: Any) -> None:
    if judged(config) and heldout is None:
        asked = "keep is best" if config.keep == "best" else f"patience is {config.patience}"
        raise UserError(
            f"train.{asked}, and no rows are held out to judge by",
            "raise build.heldout_share, or set train.keep to last and train.patience to 0",
        )


def best_of(job: Job) -> tuple[int, float]:
    """The step, above 0, whose held-out loss is the lowest, the first of equals; and that loss."""
    lines = map(orjson.loads, job.metrics.read_bytes().splitlines())
    found = [(line["eval_loss"], line["step"]) for line in lines if line.get("eval_loss") is not None and line["step"]]
    if not found:
        raise UserError(
            "train.keep is best, and no held-out loss is a number", "lower train.learning_rate, or set keep: last"
        )
    loss, step = min(found)
    return step, loss


def take_best(job: Job, trainer: Any) -> None:
    """Go back to the adapter of the lowest held-out loss, unless it is the last one."""
    step, _ = best_of(job)
    if step != trainer.state.global_step:
        checkpoint = job.checkpoints / f"checkpoint-{step}"
        # Without a cast: PEFT would make a bfloat16 adapter float32.
        trainer.model.load_adapter(str(checkpoint), "default", is_trainable=True, autocast_adapter_dtype=False)
