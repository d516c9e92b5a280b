"""What the training step left behind: its loss by step, and its summary."""

from pathlib import Path
from typing import Any

import orjson


def read_training(folder: Path) -> dict[str, Any]:
    """`loss` and `held_out`, lists of [step, loss], and `summary`, the training report; empty where files lack."""
    loss: list[list[float]] = []
    held_out: list[list[float]] = []
    metrics = folder / "metrics.jsonl"
    for line in metrics.read_bytes().splitlines() if metrics.exists() else ():
        logged = orjson.loads(line)
        if logged.get("loss") is not None:
            loss.append([logged["step"], round(logged["loss"], 6)])
        if logged.get("eval_loss") is not None:
            held_out.append([logged["step"], round(logged["eval_loss"], 6)])
    summary = folder / "report.json"
    return {
        "loss": loss,
        "held_out": held_out,
        "summary": orjson.loads(summary.read_bytes()) if summary.exists() else {},
    }
