"""The evaluation rows with a system's answers to them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.data.triplets import Triplet, read_triplets
from tasks.engine.errors import UserError
from tasks.evaluation.tables import read_table

GENERAL = "general.json"  # beside the answers


class Answer(NamedTuple):
    id: str
    text: str
    tokens: int
    truncated: bool


Answered = tuple[Triplet, Answer]


def first_refusal(rows: Path) -> str | None:
    """The fixed refusal sentence: the answer of the first unanswerable row, None if there is none."""
    return next((triplet.answer for triplet in read_triplets(rows) if triplet.refusal), None)


def answered(rows: Path, answers: Path) -> Iterator[Answered]:
    """The rows with their answers, in order; UserError if they do not belong together."""
    given = _answers(answers)
    for number, triplet in enumerate(read_triplets(rows), 1):
        answer = next(given, None)
        if answer is None or answer.id != triplet.id:
            found = "nothing" if answer is None else repr(answer.id)
            raise UserError(
                f"{answers}: row {number} should answer {triplet.id!r}, found {found}",
                "score answers that were made from these very rows; run `answer` again",
            )
        yield triplet, answer
    if extra := next(given, None):
        raise UserError(f"{answers}: answers {extra.id!r}, which {rows} does not hold", "run `answer` again")


def read_general_loss(folder: Path) -> float | None:
    """The loss on a general text of the model that gave the answers in a folder; None if they came without."""
    file = folder / GENERAL
    loss: float | None = json.loads(file.read_bytes())["loss"] if file.exists() else None
    return loss


def _answers(path: Path) -> Iterator[Answer]:
    return (Answer(*row) for row in read_table(path, ("id", "answer", "tokens", "truncated")))
