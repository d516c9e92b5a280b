"""Solved examples before a question, as earlier turns are: each rendered by the template, with its answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tasks.data.triplets import Triplet, read_triplets
from tasks.prompts import Prompt

if TYPE_CHECKING:
    import numpy as np


def read_shots(folder: Path) -> list[list[Triplet]]:
    """The examples of each question, in the order of the questions."""
    rows = list(read_triplets(folder / "examples"))
    return [[rows[number] for number in numbers] for numbers in orjson.loads((folder / "chosen.json").read_bytes())]


def with_examples(
    prompt: Prompt, prompts: "Sequence[np.ndarray]", examples: Sequence[Sequence[Triplet]], most: int
) -> "Iterator[np.ndarray]":
    """Token ids of each prompt behind as many of its examples, the last ones, as fit into `most` tokens."""
    import numpy as np

    solved = list({id(row): row for rows in examples for row in rows}.values())
    asked = prompt.encode_prompts([(row.context, row.query, row.language) for row in solved])
    said = prompt.encode_completions([row.answer for row in solved])
    turns = {id(row): np.concatenate(turn) for row, *turn in zip(solved, asked, said, strict=True)}
    for ids, rows in zip(prompts, examples, strict=True):
        # What begins every text, such as <s>, stands once; what begins every turn is in a text more than once.
        begun = int((ids == ids[0]).sum() == 1)
        shown: list[np.ndarray] = []
        room = most - len(ids)
        for row in reversed(rows):
            room -= len(turns[id(row)])
            if room < 0:
                break
            shown.insert(0, turns[id(row)][begun:])
        yield np.concatenate([ids[:begun], *shown, ids[begun:]])
