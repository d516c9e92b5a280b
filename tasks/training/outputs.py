"""What a training writes: checkpoints that are trusted only when complete, then adapter, loss curve and report."""

from pathlib import Path
from typing import Any

import orjson

from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below, sha256_file
from tasks.engine.storage.objects import apply_umask
from tasks.models.model import compute_dtype
from tasks.training.config import INITS_THAT_CHANGE_BASE
from tasks.training.job import Job

SEAL = "seal.json"
# The logged values that the recipe determines. Others (runtimes, token counts, the mean loss of this process) depend on
# the machine, or start again after a resume.
CURVES = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "entropy")
KEPT = {"step", "epoch", *CURVES, *(f"eval_{name}" for name in CURVES)}


def seal(checkpoint: Path) -> None:
    """Write the digests of a complete checkpoint beside its files; one whose writing was interrupted has none."""
    apply_umask(checkpoint)
    digests = {name: sha256_file(path) for name, path in files_below(checkpoint).items() if name != SEAL}
    (checkpoint / SEAL).write_bytes(orjson.dumps(digests))


def last_intact(checkpoints: Path) -> Path | None:
    """The newest checkpoint whose files, and those of the best checkpoint that it refers to, match their seals."""
    newest_first = sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True)
    return next((each for each in newest_first if _is_intact(each) and all(map(_is_intact, _best_of(each)))), None)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_intact(checkpoint: Path) -> bool:
    try:
        digests: dict[str, str] = orjson.loads((checkpoint / SEAL).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    return all((checkpoint / n).is_file() and sha256_file(checkpoint / n) == digest for n, digest in digests.items())


def _best_of(checkpoint: Path) -> list[Path]:
    """The best checkpoint when this one was written, if it is another."""
    try:
        best = orjson.loads((checkpoint / "trainer_state.json").read_bytes()).get("best_model_checkpoint")
    except FileNotFoundError:
        return []
    return [checkpoint.with_name(Path(best).name)] if best and Path(best).name != checkpoint.name else []


def read_metrics(job: Job) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in job.metrics.read_bytes().splitlines()]


def rewind(metrics: Path, checkpoint: Path | None) -> None:
    """Drop the log lines of steps after the checkpoint, messages, and a line that was cut short."""
    if checkpoint is None:
        metrics.unlink(missing_ok=True)
    elif metrics.exists():
        complete = [line for line in metrics.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        parsed = ((line, orjson.loads(line)) for line in complete)
        kept = (line for line, values in parsed if values["step"] <= step_of(checkpoint) and "message" not in values)
        metrics.write_bytes(b"".join(kept))


def best_step(job: Job) -> tuple[int, float]:
    """The step above 0 with the lowest held-out loss, the first of equals, and that loss."""
    found = [(line["eval_loss"], line["step"]) for line in read_metrics(job) if line.get("eval_loss") is not None]
    if not (found := [(loss, step) for loss, step in found if step]):
        raise UserError(
            "train.keep is best, and no held-out loss is a number", "lower train.learning_rate, or set keep: last"
        )
    loss, step = min(found)
    return step, loss


def save_result(job: Job, trainer: Any, *, examples: int) -> None:
    """Write the adapter, the loss curve and the report to job.out."""
    adapter, model = job.out / "adapter", trainer.model
    model.peft_config[
        "default"
    ].base_model_name_or_path = ""  # a path of this machine; `export` writes the model's name
    # An initialization that changed the base is subtracted: [B | -B0] [A ; A0] fits the original base.
    changed_base = job.start is None and job.config.lora.init in INITS_THAT_CHANGE_BASE
    model.save_pretrained(
        str(adapter),
        safe_serialization=True,
        path_initial_model_for_weight_conversion=str(job.initial) if changed_base else None,
    )
    (adapter / "README.md").unlink(missing_ok=True)  # PEFT's template; `export` writes the card
    config = orjson.loads((adapter / "adapter_config.json").read_bytes())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT keeps a set, whose order changes with PYTHONHASHSEED
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))

    lines = [{name: value for name, value in line.items() if name in KEPT} for line in read_metrics(job)]
    lines = [line for line in lines if "loss" in line or "eval_loss" in line]
    (job.out / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    report = {
        "steps": trainer.state.global_step,
        "epochs": job.config.epochs,
        "examples": examples,
        "trainable_parameters": model.get_nb_trainable_parameters()[0],
        "compute_dtype": str(compute_dtype(job.config.model, model.device.type)).removeprefix("torch."),
        "train_loss": next((line["loss"] for line in reversed(lines) if "loss" in line), None),
        "held_out_loss_before": held_out[0] if held_out else None,
        "held_out_loss_after": held_out[-1] if held_out else None,
    }
    if job.config.keep == "best":
        step, loss = best_step(job)
        report |= {"kept_step": step, "held_out_loss_after": loss}
    (job.out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    rows = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in report.items())
    (job.out / "report.md").write_text(f"| | |\n|---|---|\n{rows}")
