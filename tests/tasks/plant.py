"""The evaluation questions of the plant sample, and the slices step on rows."""

import json
from pathlib import Path

from tasks.data.triplets import Triplet, read_triplets
from tasks.engine.code.source import ROOT
from tasks.slices import SlicesConfig, slices
from tests.tasks.evaluation.rows import write_rows
from tests.tasks.tiny import COURSE

REFUSAL = "Not stated in the sheet."


def plant() -> list[Triplet]:
    lines = [json.loads(line) for line in (ROOT / "data/plant/evaluation.jsonl").open()]
    return [
        Triplet(
            line["id"],
            line["document"],
            line["query"],
            tuple(line["context"]),
            line["answer"],
            tuple(line["gold"]),
            line.get("value"),
            line["answer"] == REFUSAL,
        )
        for line in lines
    ]


PLANT = plant()


def made(folder: Path, base: Path, rows: list[Triplet], **settings) -> dict[str, dict[str, Triplet]]:
    """By file, the rows made, under the ids of the rows they are made from; `folder`/out is the artifact."""
    out = folder / "out"
    out.mkdir(parents=True)
    config = SlicesConfig(**{"rows_per_slice": 40, "max_tokens": 6000, **settings}, prompt=COURSE)
    slices(config, rows=write_rows(folder / "rows", rows), base=base, out=out)
    found: dict[str, dict[str, Triplet]] = {}
    for row in read_triplets(out / "rows"):
        file, _, id_ = row.id.partition(":")
        found.setdefault(file, {})[id_] = row
    return found
