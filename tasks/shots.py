"""shots: for each evaluation question the solved examples of the training set that a prompt could show before it."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import orjson
from pydantic import PositiveInt

from tasks.data.triplets import Triplet, TripletWriter, read_triplets, refusal_of
from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES, content_stems
from tasks.text.bm25 import Bm25
from tasks.text.tokens import normalise


class ShotsConfig(Config):
    """How many examples stand before a question."""

    shots: PositiveInt = 4


@step(libraries=("bm25s", "numpy", "pyarrow", *TEXT_LIBRARIES), resources=LANGUAGE_FILES)
def shots(config: ShotsConfig, *, rows: Path, examples: Path, out: Path) -> None:
    """Choose of `examples`, validated triplets, those whose questions are nearest to each question of `rows`, by BM25.

    Refusals are among them in their share of all: where that is no whole number, by lot of the question's id. What
    shares a document or a passage with the questions is no example. Writes out/examples/, the triplets that any
    question has, and out/chosen.json: per question, in order, the numbers of its examples, the nearest last.

    Raises UserError if there is no example, or bm25s is not installed.
    """
    asked = [(row.id, content_stems(row.query, row.language)) for row in read_triplets(rows)]
    nearest = _Nearest(_candidates(rows, examples))
    chosen = [nearest.to(config.shots, *each) for each in asked]
    used = {number: place for place, number in enumerate(sorted({each for numbers in chosen for each in numbers}))}
    (out / "examples").mkdir()
    with TripletWriter(out / "examples" / "00000.arrow", refusal_of(examples)) as writer:
        for number, row in enumerate(_candidates(rows, examples)):
            if number in used:
                writer.add(row)
    (out / "chosen.json").write_bytes(orjson.dumps([[used[each] for each in numbers] for numbers in chosen]))


def _candidates(rows: Path, examples: Path) -> Iterator[Triplet]:
    """The examples that nothing of the questions is in."""
    documents: set[str] = set()
    passages: set[str] = set()
    for row in read_triplets(rows):
        documents.add(row.document)
        passages.update(map(normalise, row.context))
    for row in read_triplets(examples):
        if row.document not in documents and passages.isdisjoint(map(normalise, row.context)):
            yield row


class _Nearest:
    """The examples' questions in an index; memory holds their words as numbers."""

    def __init__(self, examples: Iterator[Triplet]) -> None:
        import numpy as np

        questions, refusals = [], []
        for row in examples:
            questions.append(content_stems(row.query, row.language))
            refusals.append(row.refusal)
        if not questions:
            raise UserError(
                "answer.shots: no training row is from other documents than the questions",
                "give more documents, or set answer.shots to 0",
            )
        self._index = Bm25(questions, "shots")
        self._of = [np.flatnonzero(np.array(refusals) == refuses) for refuses in (False, True)]
        self.share = float(np.mean(refusals))  # of refusals

    def to(self, count: int, name: str, stems: list[str]) -> list[int]:
        """Numbers of so many examples for the question of this name, the nearest last."""
        scores = self._index.scores(stems)
        lot = int(sha256(name.encode()).hexdigest()[:8], 16) / 16**8
        refusals = min(int(count * self.share + lot), len(self._of[1]))
        answers = min(count - refusals, len(self._of[0]))
        highest = self._index.highest
        found = [*highest(scores, answers, self._of[0]), *highest(scores, count - answers, self._of[1])]
        return sorted(found, key=lambda number: (scores[number], -number))
