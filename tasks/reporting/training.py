"""What the training step left behind: its loss by step, its summary, and on its record what it cost."""

from pathlib import Path
from typing import Any

import orjson

from tasks.reporting.figures import count

COST = (  # as a training's record may have it
    *("train_seconds", "tokens_per_second", "computed_tokens_per_second", "mfu"),
    *("peak_mib", "predicted_mib", "watts", "gpu_seconds"),
)


def read_training(folder: Path) -> dict[str, Any]:
    """`loss` and `held_out`, lists of [step, loss], `summary`, the training report, and `cost`; empty where files lack.

    The cost is history, of that one training: another one of the same recipe costs something else.
    """
    loss: list[list[float]] = []
    held_out: list[list[float]] = []
    metrics = folder / "metrics.jsonl"
    for line in metrics.read_bytes().splitlines() if metrics.exists() else ():
        logged = orjson.loads(line)
        if logged.get("loss") is not None:
            loss.append([logged["step"], round(logged["loss"], 6)])
        if logged.get("eval_loss") is not None:
            held_out.append([logged["step"], round(logged["eval_loss"], 6)])
    summary, record = folder / "report.json", folder / "record.json"
    measured = orjson.loads(record.read_bytes()).get("measured", {}) if record.exists() else {}
    return {
        "loss": loss,
        "held_out": held_out,
        "summary": orjson.loads(summary.read_bytes()) if summary.exists() else {},
        "cost": {name: measured[name] for name in COST if name in measured},
    }


def cost_line(cost: dict[str, float]) -> str:
    """`1,234 tokens a second, 45 % of the device's matrix rate (MFU), …`; what was not measured is left out."""
    tokens, computed = cost.get("tokens_per_second"), cost.get("computed_tokens_per_second")
    parts = [f"{count(tokens)} tokens a second"] if tokens else []
    if computed and computed != tokens:
        parts[-1] += f" ({count(computed)} with padding)"
    if "mfu" in cost:
        parts.append(f"{cost['mfu']:.0%} of the device's matrix rate (MFU)")
    if "peak_mib" in cost:
        predicted = f" ({count(cost['predicted_mib'])} predicted)" if "predicted_mib" in cost else ""
        parts.append(f"{count(cost['peak_mib'])} MiB at the peak{predicted}")
    if "watts" in cost:
        parts.append(f"{count(cost['watts'])} W")
    return ", ".join(parts)
