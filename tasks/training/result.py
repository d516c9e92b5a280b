"""What a training leaves: the adapter, its loss curve, and a report."""

from typing import Any

import orjson

from tasks.training.adapted import compute_dtype
from tasks.training.best import best_of
from tasks.training.config import MOVE_THE_BASE
from tasks.training.job import Job

# What of the log is the recipe's doing. The rest (runtimes, token counts, the mean loss of this process) depends on the
# hour, or starts anew after a resume.
CURVES = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "entropy")
KEPT = {"step", "epoch", *CURVES, *(f"eval_{name}" for name in CURVES)}


def save(job: Job, trainer: Any, *, examples: int) -> None:
    adapter = job.out / "adapter"
    # A path of this machine has no place in an adapter; `export` writes the base model's name.
    trainer.model.peft_config["default"].base_model_name_or_path = ""
    trained = trainer.model.get_nb_trainable_parameters()[0]
    # What was taken out of the base when the adapter began comes off here: [B | -B0] [A ; A0] beside the whole base.
    moved = job.start is None and job.config.lora.init in MOVE_THE_BASE
    trainer.model.save_pretrained(
        str(adapter),
        safe_serialization=True,
        path_initial_model_for_weight_conversion=str(job.initial) if moved else None,
    )
    (adapter / "README.md").unlink(missing_ok=True)  # PEFT's template; `export` writes the card
    config = orjson.loads((adapter / "adapter_config.json").read_bytes())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT keeps a set, whose order changes with PYTHONHASHSEED
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    lines = [orjson.loads(line) for line in job.metrics.read_bytes().splitlines()]
    lines = [{name: value for name, value in line.items() if name in KEPT} for line in lines]
    lines = [line for line in lines if "loss" in line or "eval_loss" in line]
    (job.out / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    report = {
        "steps": trainer.state.global_step,
        "epochs": job.config.epochs,
        "examples": examples,
        "trainable_parameters": trained,
        "compute_dtype": compute_dtype(job.config, trainer.model),
        "train_loss": next((line["loss"] for line in reversed(lines) if "loss" in line), None),
        "held_out_loss_before": held_out[0] if held_out else None,
        "held_out_loss_after": held_out[-1] if held_out else None,
    }
    if job.config.keep == "best":
        step, loss = best_of(job)
        report |= {"kept_step": step, "held_out_loss_after": loss}
    (job.out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    rows = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in report.items())
    (job.out / "report.md").write_text(f"| | |\n|---|---|\n{rows}")
