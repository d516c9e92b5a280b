"""Rows to measure with: as many as asked, all different, made from the sample's; the same ones every time."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tasks.engine.code.source import ROOT

SAMPLE = ROOT / "data/plant/train.jsonl"
ROWS_PER_DOCUMENT = 4
FIRST_DOCUMENT = 10**8  # so that all numbers have as many digits
PASSAGES = 6  # some 200 words, as passages of a search have together
PERMUTATIONS = 997  # of the digits; prime, so that they do not fall into step with the sample's rows


def rows(count: int, *, start: int = 0) -> Iterator[bytes]:
    """Lines of JSON, numbered from `start`: a row's question and answer, over its passages and those of other rows.

    Digits are permuted and the equipment renamed, so that no two rows are alike and answers stay grounded.
    """
    texts = _texts()
    random_ = random.Random(0)
    permutations = [str.maketrans("0123456789", "".join(random_.sample("0123456789", 10))) for _ in range(PERMUTATIONS)]
    for number in range(start, start + count):
        text = texts[number % len(texts)].translate(permutations[number % PERMUTATIONS])
        yield text.replace("@", str(FIRST_DOCUMENT + number // ROWS_PER_DOCUMENT)).encode()


def write(path: Path, count: int, *, start: int = 0) -> Path:
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in rows(count, start=start))
    return path


def _texts() -> list[str]:
    """The sample's rows with the number of their equipment as `@`, filled up with other rows' passages."""
    sample = [json.loads(line) for line in SAMPLE.open()]
    made = []
    for at, row in enumerate(sample):
        document = row["document"]
        others = [text for near in sample[at + 1 :] + sample[:at] for text in near["context"] if document not in text]
        context = [*row["context"], *others[: PASSAGES - len(row["context"])]]
        kept = {"document": document, "query": row["query"], "context": context, "answer": row["answer"]}
        made.append(json.dumps(kept).replace(document, "U-@"))
    return made
