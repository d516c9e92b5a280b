"""Training rows most like some questions, by the words of question and gold passage; streamed, a batch at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tasks.data.triplets import files_of, left_out
from tasks.text import content_stems, words
from tasks.text.tokens import stem

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

WEIGHED = 10  # files that word frequencies are counted in, evenly spread over all
# `words` for ASCII, still in bytes, which Arrow splits: capitals become small, what is no letter or digit a space.
_PLAIN = bytes(ord(chr(byte).lower()) if chr(byte).isalnum() else 32 for byte in range(128)).ljust(256)


class Asked(NamedTuple):
    """What to look for: a question, and the passages that hold its answer."""

    query: str
    passages: Sequence[str]


class Like(NamedTuple):
    """A training row, and how much of what is asked it holds: shares from 0 to 1 of the words' IDF mass."""

    similarity: float  # the mean of the other two; of the one that there is, where a question has no content word
    question: float  # of the question's stems in the row's question
    asks: float  # the same without stems that no training question holds, such as the name of what is asked about
    passage: float  # of the passages' stems in the row's gold passages, in all of its passages if none is named
    id: str
    document: str
    query: str
    answer: str
    refusal: bool


def most_alike(asked: Sequence[Asked], source: Path, *, top: int) -> list[list[Like]]:
    """For each question the `top` rows of the folder of triplets `source`, the likest first, ties in their order.

    Memory holds one file of triplets, and a batch's rows by the questions' words. 49 µs a row of 200 words for ten
    questions, on one core: a million in 49 s.
    """
    import numpy as np

    files, skipped = files_of(source), left_out(source)
    fields = [_Field([each.query for each in asked]), _Field(["\n".join(each.passages) for each in asked])]
    for path in files[:: -(-len(files) // WEIGHED) or 1]:
        for batch in _batches(path, skipped.get(path.name, [])):
            for field, texts in zip(fields, _texts(batch), strict=True):
                field.count(texts)
    masses = np.stack([field.masses() for field in fields])
    known = masses[0] / np.maximum(fields[0].masses(known=True), 1e-9)
    parts = np.maximum(1, (masses > 0).sum(axis=0))
    found: list[list[Like]] = [[] for _ in asked]
    for path in files:
        for batch in _batches(path, skipped.get(path.name, [])):
            shares = [field.shares(texts) for field, texts in zip(fields, _texts(batch), strict=True)]
            likeness = (shares[0] + shares[1]) / parts
            for number, best in enumerate(found):
                column = likeness[:, number]
                least = best[-1].similarity if len(best) == top else -1.0
                for row in np.argsort(-column, kind="stable")[:top].tolist():
                    if column[row] > least:
                        question, passage = float(shares[0][row, number]), float(shares[1][row, number])
                        asks = min(1.0, question * float(known[number]))
                        best.append(_like(batch, row, float(column[row]), question, asks, passage))
                best.sort(key=lambda like: -like.similarity)
                del best[top:]
    return found


class _Field:
    """One text of a row, question or passages, as the stems of interest that it holds."""

    def __init__(self, asked: Sequence[str]) -> None:
        import numpy as np

        stems = [set(content_stems(text)) for text in asked]
        self._terms = {term: at for at, term in enumerate(sorted(set().union(*stems)))}
        self._asked = np.zeros((len(self._terms), len(asked)), np.float32)
        for number, each in enumerate(stems):
            self._asked[[self._terms[term] for term in each], number] = 1
        self._rows = 0
        self._holding = np.zeros(len(self._terms))

    def count(self, texts: "pa.StringArray") -> None:
        held = self._held(texts)
        self._rows += len(held)
        self._holding += held.sum(axis=0)

    @property
    def _weights(self) -> "np.ndarray":
        """Smoothed inverse document frequency, as in `ContextView.idf`."""
        import numpy as np

        return np.log((1 + self._rows) / (1 + self._holding)) + 1

    def masses(self, *, known: bool = False) -> "np.ndarray":
        """Of each question the weight of its stems; of those that were counted in some row if `known`."""
        import numpy as np

        masses: np.ndarray = np.where(self._holding > 0 if known else True, self._weights, 0) @ self._asked
        return masses

    def shares(self, texts: "pa.StringArray") -> "np.ndarray":
        """Rows by questions: the share of a question's mass that the row holds; 0 of none."""
        import numpy as np

        weighted = (self._asked * self._weights[:, None]).astype(np.float32)
        shares: np.ndarray = (self._held(texts) @ weighted) / np.maximum(self.masses(), 1e-9)
        return shares

    def _held(self, texts: "pa.StringArray") -> "np.ndarray":
        """Rows by terms, 1 where the row holds the term; float32."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        held = np.zeros((len(texts), len(self._terms)), np.float32)
        plain = pa.array([_plain(text) for text in texts.cast(pa.binary()).to_pylist()], pa.binary())
        lists = pc.ascii_split_whitespace(plain.cast(pa.string()))
        said = lists.flatten().dictionary_encode()
        terms = np.array([self._terms.get(stem(word), -1) for word in said.dictionary.to_pylist()], np.int64)
        terms = terms[said.indices.to_numpy()]
        rows = np.repeat(np.arange(len(texts)), np.diff(lists.offsets.to_numpy()))
        held[rows[terms >= 0], terms[terms >= 0]] = 1
        return held


def _plain(text: bytes) -> bytes:
    """The words with white space between them."""
    return text.translate(_PLAIN) if text.isascii() else " ".join(words(text.decode())).encode()


def _batches(path: Path, skipped: list[int]) -> Iterator["pa.RecordBatch"]:
    """The rows of a file but for the skipped ones."""
    import numpy as np
    import pyarrow as pa

    gone, first = np.array(skipped, np.int64), 0
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        for batch in stream:
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            yield batch.filter(pa.array(~np.isin(rows, gone))) if gone.size else batch


def _texts(batch: "pa.RecordBatch") -> "tuple[pa.StringArray, pa.StringArray]":
    """Of each row the question, and its gold passages in one; all of its passages if none is named."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    context, gold = batch["context"], batch["gold"]
    rows, named = np.arange(batch.num_rows), pc.fill_null(pc.list_value_length(gold), 0).to_numpy(zero_copy_only=False)
    counts = pc.list_value_length(context).to_numpy()
    row_of = np.repeat(rows, counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    wide = int(counts.max(initial=0)) + 1
    kept = np.isin(row_of * wide + place, np.repeat(rows, named) * wide + gold.flatten().to_numpy())
    kept |= (named == 0)[row_of]
    ends = np.append(0, np.cumsum(np.bincount(row_of[kept], minlength=len(rows)))).astype(np.int32)
    passages = pa.ListArray.from_arrays(pa.array(ends), context.flatten().filter(pa.array(kept)))
    return batch["query"], pc.binary_join(passages, "\n")


def _like(batch: "pa.RecordBatch", row: int, *shares: float) -> Like:
    told = [batch[name][row].as_py() for name in ("id", "document", "query", "answer", "refusal")]
    return Like._make([*shares, *told])
