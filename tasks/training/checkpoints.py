"""Checkpoints that can be believed: one counts only once it is written whole."""

from pathlib import Path

import orjson

from tasks.engine.inputs import files_below, sha256_file

SEAL = "whole.json"


def seal(checkpoint: Path) -> None:
    """Write a finished checkpoint's digests beside its files; a kill in mid-write leaves it without."""
    digests = {name: sha256_file(path) for name, path in files_below(checkpoint).items() if name != SEAL}
    (checkpoint / SEAL).write_bytes(orjson.dumps(digests))


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint whose every file is as it was sealed; None if there is none."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True)
    return next((folder for folder in found if _whole(folder)), None)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def rewind(metrics: Path, checkpoint: Path | None) -> None:
    """Drop the log lines of steps that will be run again, what was said, and a line that a kill cut short."""
    if checkpoint is None:
        metrics.unlink(missing_ok=True)
    elif metrics.exists():
        whole = [line for line in metrics.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        read = ((line, orjson.loads(line)) for line in whole)
        kept = (line for line, told in read if told["step"] <= step_of(checkpoint) and "said" not in told)
        metrics.write_bytes(b"".join(kept))


def _whole(folder: Path) -> bool:
    """Whether its files are as they were sealed, and so are those of the best checkpoint that it goes back to."""
    return _as_sealed(folder) and all(map(_as_sealed, _best(folder)))


def _best(folder: Path) -> list[Path]:
    """The best checkpoint that there was when this one was written, if it is another."""
    try:
        best = orjson.loads((folder / "trainer_state.json").read_bytes()).get("best_model_checkpoint")
    except FileNotFoundError:
        return []
    return [folder.with_name(Path(best).name)] if best and Path(best).name != folder.name else []


def _as_sealed(folder: Path) -> bool:
    try:
        sealed: dict[str, str] = orjson.loads((folder / SEAL).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    return all((folder / n).is_file() and sha256_file(folder / n) == digest for n, digest in sealed.items())
