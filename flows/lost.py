"""Data that got lost: compares a dataset with the one before it, and stops a run before it trains on a remnant."""

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from flows.promotion.candidates import find, roles
from tasks.data.dataset.sketch import Documents
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Artifact, CorruptArtifact, Store

if TYPE_CHECKING:
    import numpy as np

RUNS = 50  # that are looked through for one that trained
SIDES = {"training": ("train", "heldout"), "evaluation": ("evaluation",)}


def require_kept(store: Store, dataset: Artifact, *, name: str, most: float) -> None:
    """UserError if more than the share `most` of the earlier rows, on either side, or of the documents is gone.

    Compared with the data that the champion was trained on, or else the last run of the config `name` that trained.
    """
    whose, before = _before(store, name)
    if before is None or before.key == dataset.key:
        return
    then, now = _rows(before), _rows(dataset)
    found = [f"{now[side]:,} {side} rows, not {then[side]:,}" for side in then if now[side] < (1 - most) * then[side]]
    names, left = _named(before), _named(dataset)
    if (gone := len(names - left)) > most * len(names):
        found.append(f"{gone:,} of {len(names):,} documents gone")
    if found:
        day = before.record.made_at[:10]
        raise UserError(
            f"the data has lost more than {most:.0%} since {whose} ({before.about}, {day}): {'; '.join(found)}",
            "look at data.train and data.evaluation; if it is meant, raise data.max_lost, 1 allows all",
        )


def _before(store: Store, name: str) -> tuple[str, Artifact | None]:
    """Whose data it was, and the dataset as the store has it."""
    if "champion" in roles(store):
        try:
            trained = find(store, "champion").input_artifact("training")
        except (UserError, CorruptArtifact):
            trained = None
        if trained and (dataset := trained.input_artifact("train")):
            return "the champion's training", store.open(dataset.step, dataset.key)
    runs = (run.steps for run in store.runs(RUNS) if run.name == name and {"build", "train"} <= run.steps.keys())
    last = next(runs, None)
    return "the last training", store.open("build", last["build"]["key"]) if last else None


def _rows(dataset: Artifact) -> dict[str, int]:
    counted = orjson.loads((_fetched(dataset, ["report.json"]) / "report.json").read_bytes())["rows"]
    return {side: sum(counted[each] for each in those) for side, those in SIDES.items()}


def _named(dataset: Artifact) -> set[int]:
    """Documents that have names of their own, as hashes; of others every edit would make another one."""
    sketches = [each for each in dataset.all_files if each.startswith("sketches/")]
    folder = _fetched(dataset, sketches)
    found: set[int] = set()
    for each in sketches:
        documents = Documents.read(folder / each)
        found |= set(_without(documents.names, documents.owners).tolist())
    return found


def _without(names: "np.ndarray", derived: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.delete(names, np.unique(derived))


def _fetched(dataset: Artifact, names: list[str]) -> Path:
    return dataset.store.fetch(dataset, names)
