"""The train step as these tests run it, and what it left."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tasks.train import train
from tasks.training.config import TrainConfig
from tests.gpu.conftest import Inputs


class Trained(NamedTuple):
    measured: dict[str, float]
    fit: dict[str, Any]  # what train.fit chose: "checkpointing" is there if memory did not run out
    losses: dict[int, float]  # by step
    messages: str


def trained(folder: Path, inputs: Inputs, config: TrainConfig) -> Trained:
    """Train, or go on, in folder/work."""
    work, out = folder / "work", folder / "out"
    for each in (work, out):
        each.mkdir(parents=True, exist_ok=True)
    measured = train(config, train=inputs.train, heldout=None, base=inputs.base, work=work, out=out)
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert measured
    return Trained(
        measured,
        json.loads((work / "fit.json").read_text()) if config.fit == "auto" else {},
        {line["step"]: line["loss"] for line in lines if "loss" in line},
        "\n".join(line["message"] for line in lines if "message" in line),
    )
