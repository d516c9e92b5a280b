"""A whole project in miniature: data, a toy base model and a config, from which a run takes seconds."""

import json
from pathlib import Path

import yaml

from tests.tasks.evaluation.rows import triplets
from tests.tasks.tiny import toy_base

# Small, but nothing left out: several checkpoints, several batches of answers, held-out rows, a refusal.
SETTINGS = {
    "build": {"max_tokens": 768},
    "train": {
        "max_steps": 4,
        "save_steps": 1,
        "logging_steps": 1,
        "eval_steps": 3,
        "batch_size": 1,
        "accumulation": 1,
        "learning_rate": 0.05,  # or the tuned model would answer as the base does
    },
    "answer": {"max_new_tokens": 4, "batch_tokens": 2_000},
    "parity": {"enabled": False},
    "slices": {"enabled": False},
    "gate": {"resamples": 100},
}


def project(folder: Path) -> Path:
    """Write the project; returns its config file, whose paths are absolute. `store` is left to the run."""
    folder.mkdir(parents=True)
    rows = [row._asdict() for row in triplets(16)]
    for name, part in (("train", rows[:24]), ("evaluation", rows[24:])):
        lines = (
            json.dumps({key: row[key] for key in ("id", "document", "query", "context", "answer")}) for row in part
        )
        (folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    data = {name: str(folder / f"{name}.jsonl") for name in ("train", "evaluation")}
    tree = {"name": "faults", "data": data, "base": {"model": str(toy_base(folder / "base"))}, **SETTINGS}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    return config
