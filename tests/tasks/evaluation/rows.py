"""Evaluation folders as build, answer, train and export write them, small but whole."""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from tasks.data.triplets import Triplet, TripletWriter
from tests.tasks.evaluation.metrics.grounded import GROUNDED

REFUSAL = "Not stated in the context."
ANSWERS = pa.schema([("id", pa.string()), ("answer", pa.string()), ("tokens", pa.int32()), ("truncated", pa.bool_())])


def triplets(documents: int) -> list[Triplet]:
    """Two rows for each document: the question with its passage among others, and without."""
    rows = []
    for number in range(documents):
        given, other = GROUNDED[number % len(GROUNDED)], GROUNDED[(number + 5) % len(GROUNDED)]
        document = f"Sheet {number}"
        shared = {"document": document, "query": f"{given.query} ({document})"}
        context = (other.passage, given.passage)
        rows.append(Triplet(f"{number}-with", **shared, context=context, answer=given.answer, gold=(1,)))
        rows.append(Triplet(f"{number}-without", **shared, context=context[:1], answer=REFUSAL, refusal=True))
    return rows


def write_rows(folder: Path, rows: Sequence[Triplet]) -> Path:
    folder.mkdir(parents=True)
    with TripletWriter(folder / "rows.arrow") as writer:
        for row in rows:
            writer.add(row)
    return folder


def write_answers(folder: Path, rows: Sequence[Triplet], say: Callable[[int, Triplet], str]) -> Path:
    """`say` gives the answer to the row of that number; one that ends in "…" was cut off."""
    folder.mkdir(parents=True)
    texts = [say(number, row) for number, row in enumerate(rows)]
    columns = [[row.id for row in rows], texts, [len(text.split()) for text in texts], [t.endswith("…") for t in texts]]
    table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, ANSWERS, strict=True)], schema=ANSWERS)
    with pa.ipc.new_stream(str(folder / "answers.arrow"), ANSWERS) as stream:
        stream.write_table(table, max_chunksize=50)
    return folder


def write_training(folder: Path) -> Path:
    folder.mkdir(parents=True)
    lines: list[dict] = [{"step": 0, "eval_loss": 3.2}]
    lines += [
        {"step": s, "epoch": s / 20, "loss": 3 / s, "learning_rate": 1e-4, "grad_norm": 1.0} for s in range(1, 41)
    ]
    lines += [{"step": 20, "eval_loss": 1.4}, {"step": 40, "eval_loss": 0.9}]
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    summary = {"held_out_loss_before": 3.2, "held_out_loss_after": 0.9, "steps": 40, "examples": 160}
    (folder / "report.json").write_bytes(orjson.dumps(summary))
    return folder


def write_adapter(folder: Path) -> Path:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "README.md").write_text("---\nlibrary_name: peft\n---\n\n# LoRA adapter\n", encoding="utf-8")
    return folder


def right(number: int, row: Triplet) -> str:
    return row.answer


def poor(number: int, row: Triplet) -> str:
    """Refuses some of what it could answer, answers what it could not, invents and leaks."""
    wrong = GROUNDED[(number // 2 + 3) % len(GROUNDED)].answer
    leaking = f"{REFUSAL} However, {wrong[0].lower()}{wrong[1:]}"
    return [row.answer, wrong, REFUSAL, "It was made in 1777 by Acme Works.", leaking, wrong + " …"][
        (number // 2 + number % 2 * 2) % 6
    ]
