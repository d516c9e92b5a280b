"""Checkpoints that can be believed: a checkpoint counts only once it is written whole."""

from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback

from tasks.versioning.inputs import files_below, sha256_file

SEAL = "whole.json"


class SealCheckpoints(TrainerCallback):
    """Write each finished checkpoint's digests beside it; a kill in mid-write leaves it without."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        digests = {name: sha256_file(path) for name, path in files_below(folder).items() if name != SEAL}
        (folder / SEAL).write_bytes(orjson.dumps(digests))


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint whose every file is as it was sealed; None if there is none."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)
    return next((folder for folder in found if _whole(folder)), None)


def _whole(folder: Path) -> bool:
    try:
        sealed: dict[str, str] = orjson.loads((folder / SEAL).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    return all((folder / n).is_file() and sha256_file(folder / n) == digest for n, digest in sealed.items())
