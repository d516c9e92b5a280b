"""Training rows that are similar to questions, by the words of question and gold passages."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasks.data.triplets import Triplet, files_of, left_out, parse_triplets
from tasks.text import content_stems, words
from tasks.text.tokens import stem

if TYPE_CHECKING:
    import numpy as np

SAMPLED_FILES = 10  # files in which the frequencies of words are counted, evenly spread over all
SEARCHED = 100_000  # rows; of more, whole files evenly spread over all: 10 s instead of 100 for a million rows
BATCH = 4096  # rows in memory as a matrix, beside one file of triplets
MAX_WORDS = 1 << 16  # remembered words; more are forgotten


class Question(NamedTuple):
    """What to look for: a question, and the passages that contain its answer."""

    query: str
    passages: Sequence[str]


class Neighbour(NamedTuple):
    """A training row, and how much of a question it contains: shares from 0 to 1 of the words' IDF mass."""

    row: Triplet
    similarity: float  # the mean of `question` and `passage`; if the question has no content word, `passage` alone
    question: float  # of the question's stems in the row's question
    passage: float  # of the passages' stems in the row's gold passages; in all of its passages if it names none
    known: float  # as `question`, without stems that no training question contains, such as the name of the subject


def nearest_rows(questions: Sequence[Question], source: Path, *, top: int) -> list[list[Neighbour]]:
    """For each question the `top` most similar rows of the folder of triplets `source`, ties in their order.

    Looks at about SEARCHED rows at most, in whole files evenly spread. On one core 0.1 ms a row of 200 words for ten
    questions.
    """
    import numpy as np

    fields = [_Field([each.query for each in questions]), _Field(["\n".join(each.passages) for each in questions])]
    files = files_of(source)
    sampled = files[:: -(-len(files) // SAMPLED_FILES) or 1]
    counted = 0
    for rows in _batches(source, sampled):
        counted += len(rows)
        for field, texts in zip(fields, _texts(rows), strict=True):
            field.count(texts)
    masses = np.stack([field.masses() for field in fields])
    known_share = masses[0] / np.maximum(fields[0].masses(known=True), 1e-9)
    parts = np.maximum(1, (masses > 0).sum(axis=0))
    found: list[list[Neighbour]] = [[] for _ in questions]
    searched = files[:: math.ceil(counted * len(files) / max(len(sampled), 1) / SEARCHED) or 1]
    for rows in _batches(source, searched):
        question, passage = (field.shares(texts) for field, texts in zip(fields, _texts(rows), strict=True))
        similarity = (question + passage) / parts
        for number, best in enumerate(found):
            for row in np.argsort(-similarity[:, number], kind="stable")[:top].tolist():
                share = float(question[row, number])
                best.append(
                    Neighbour(
                        rows[row],
                        similarity=float(similarity[row, number]),
                        question=share,
                        passage=float(passage[row, number]),
                        known=min(1.0, share * float(known_share[number])),
                    )
                )
            best.sort(key=lambda each: -each.similarity)
            del best[top:]
    return found


def _batches(source: Path, files: Sequence[Path]) -> Iterator[list[Triplet]]:
    skipped = left_out(source)
    for path in files:
        rows = parse_triplets(path.read_bytes(), skipped.get(path.name, ()))
        while batch := list(islice(rows, BATCH)):
            yield batch


def _texts(rows: Sequence[Triplet]) -> tuple[list[str], list[str]]:
    """Of each row the question, and its gold passages as one text; all of its passages if none is named."""
    passages = [[row.context[at] for at in row.gold] if row.gold else row.context for row in rows]
    return [row.query for row in rows], ["\n".join(each) for each in passages]


class _Field:
    """One text of a row, question or passages, as the stems of the questions that it contains."""

    def __init__(self, questions: Sequence[str]) -> None:
        import numpy as np

        stems = [set(content_stems(text)) for text in questions]
        self._columns = _Columns(sorted(set().union(*stems)))
        self._wanted = np.zeros((len(self._columns.stems), len(questions)), np.float32)  # stems by questions
        for number, each in enumerate(stems):
            self._wanted[[self._columns.stems[stem_] for stem_ in each], number] = 1
        self._rows = 0
        self._rows_with = np.zeros(len(self._columns.stems))

    def count(self, texts: Sequence[str]) -> None:
        """Count these rows in the stems' frequencies."""
        self._rows += len(texts)
        self._rows_with += self._contained(texts).sum(axis=0)

    @property
    def _weights(self) -> "np.ndarray":
        """Smoothed inverse document frequency, as in `ContextView.idf`."""
        import numpy as np

        weights: np.ndarray = np.log((1 + self._rows) / (1 + self._rows_with)) + 1
        return weights

    def masses(self, *, known: bool = False) -> "np.ndarray":
        """The weight of each question's stems; if `known`, of those that some counted row contains."""
        import numpy as np

        masses: np.ndarray = np.where(self._rows_with > 0 if known else True, self._weights, 0) @ self._wanted
        return masses

    def shares(self, texts: Sequence[str]) -> "np.ndarray":
        """Rows by questions: the share of a question's mass that the row contains; 0 if its mass is 0."""
        import numpy as np

        weighted = (self._wanted * self._weights[:, None]).astype(np.float32)
        shares: np.ndarray = (self._contained(texts) @ weighted) / np.maximum(self.masses(), 1e-9)
        return shares

    def _contained(self, texts: Sequence[str]) -> "np.ndarray":
        """Rows by stems, 1 where the row contains the stem; float32."""
        import numpy as np

        contained = np.zeros((len(texts), len(self._columns.stems) + 1), np.float32)  # the last for all other words
        for row, text in enumerate(texts):
            contained[row, [self._columns[word] for word in set(words(text))]] = 1
        return contained[:, :-1]


class _Columns(dict[str, int]):
    """The column of each word's stem; for a stem that is not wanted, one behind the last."""

    def __init__(self, stems: Sequence[str]) -> None:
        super().__init__()
        self.stems = {each: column for column, each in enumerate(stems)}

    def __missing__(self, word: str) -> int:
        if len(self) >= MAX_WORDS:
            self.clear()
        self[word] = column = self.stems.get(stem(word), len(self.stems))
        return column
