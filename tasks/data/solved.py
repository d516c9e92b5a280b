"""Solved examples before a question, as earlier turns are: each rendered by the template, with its answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tasks.data.triplets import Triplet, read_triplets
from tasks.prompts import Asked, Prompt

if TYPE_CHECKING:
    import numpy as np


def read_shots(folder: Path) -> list[list[Triplet]]:
    """The examples of each question, in the order of the questions."""
    rows = list(read_triplets(folder / "examples"))
    return [[rows[number] for number in numbers] for numbers in orjson.loads((folder / "chosen.json").read_bytes())]


def with_examples(
    prompt: Prompt, questions: Sequence[Asked], examples: Sequence[Sequence[Triplet]], most: int
) -> "Iterator[np.ndarray]":
    """Token ids of each question's prompt behind as many of its examples, the last ones, as fit into `most` tokens."""
    for asked, rows in zip(questions, examples, strict=True):
        turns = [turn for row in rows for turn in (("user", prompt.turns.user(row.asked)), ("assistant", row.answer))]
        while True:
            ids = prompt.encode_prompts([asked._replace(examples=turns)]).values
            if len(ids) <= most or not turns:
                break
            turns = turns[2:]
        yield ids
