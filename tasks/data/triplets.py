"""The row that flows through the pipeline, and its Arrow form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from tasks.prompts.config import Asked
from tasks.text.language import ENGLISH, refusal_sentence

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1_000  # as `datasets` writes
LEFT_OUT = "left_out.json"
REFUSAL_KEY = "refusal"  # of the schema's metadata
BATCH_CHARS = 4_000_000  # a batch of very long contexts is cut earlier, which keeps memory flat


class Triplet(NamedTuple):
    """A question, the passages retrieved for it, and the answer that they support.

    `id` and `document` are the author's, or derived from the content: never from a position in a file.
    """

    id: str
    document: str  # the source document: splits and statistics group by it
    query: str
    context: tuple[str, ...]  # passages, in the order given
    answer: str  # the refusal sentence where `refusal`
    gold: tuple[int, ...] | None = None  # indices of the passages that hold the answer; None: not given
    value: str | None = None  # a short value that a right answer contains; None: not given
    refusal: bool = False
    language: str = ENGLISH  # ISO 639-1 code, of the context
    history: tuple[tuple[str, str], ...] = ()  # (role, text) of the turns before

    @property
    def asked(self) -> Asked:
        return Asked(self.context, self.query, self.language, self.history)


def schema() -> pa.Schema:
    """The Arrow schema of a file of triplets: one column per field of `Triplet`, in its order."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("document", pa.string(), nullable=False),
            pa.field("query", pa.string(), nullable=False),
            pa.field("context", pa.list_(pa.string()), nullable=False),
            pa.field("answer", pa.string(), nullable=False),
            pa.field("gold", pa.list_(pa.int32())),
            pa.field("value", pa.string()),
            pa.field("refusal", pa.bool_(), nullable=False),
            pa.field("language", pa.string(), nullable=False),
            pa.field("history", pa.list_(pa.list_(pa.string())), nullable=False),
        ]
    )


class TripletWriter(AbstractContextManager["TripletWriter"]):
    """Writes triplets to an Arrow IPC stream in small batches: ``with TripletWriter(path) as w: w.add(row)``.

    `datasets.Dataset.from_file` opens the file as it is. `refusal`, the sentence of the refusal rows, goes into the
    schema's metadata, so that a prompt can name it without looking for such a row.
    """

    def __init__(self, sink: Path | pa.NativeFile, refusal: str | None = None) -> None:
        import pyarrow as pa

        self._schema = schema().with_metadata({REFUSAL_KEY: refusal} if refusal else None)
        self._stream = pa.ipc.new_stream(str(sink) if isinstance(sink, Path) else sink, self._schema)
        self._rows: list[Triplet] = []
        self._chars = 0

    def add(self, row: Triplet) -> None:
        self._rows.append(row)
        self._chars += len(row.answer) + sum(map(len, row.context))
        if len(self._rows) == BATCH_ROWS or self._chars >= BATCH_CHARS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
            self._stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows, self._chars = [], 0

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._stream.close()


def to_arrow(rows: Iterable[Triplet], refusal: str | None = None) -> bytes:
    """The rows as an Arrow IPC stream in memory; see `TripletWriter`."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with TripletWriter(sink, refusal) as writer:
        for row in rows:
            writer.add(row)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def files_of(rows: Path) -> list[Path]:
    """The Arrow files of a folder of triplets, in the order of their rows."""
    return sorted(rows.glob("*.arrow"))


def left_out(rows: Path) -> dict[str, list[int]]:
    """By file name, the rows of it that are left out for what stands in other files: duplicates, say."""
    note = rows / LEFT_OUT
    found: dict[str, list[int]] = orjson.loads(note.read_bytes()) if note.is_file() else {}
    return found


def read_triplets(rows: Path) -> Iterator[Triplet]:
    """The rows of a folder of triplets, file by file, without those left out; one batch in memory at a time."""
    skipped = left_out(rows)
    for path in files_of(rows):
        yield from parse_triplets(path.read_bytes(), skipped.get(path.name, ()))


def parse_triplets(content: bytes, skipped: Collection[int] = ()) -> Iterator[Triplet]:
    """The rows of one Arrow IPC stream, in order, but for the `skipped` ones."""
    import pyarrow as pa

    first, gone = 0, set(skipped)
    with pa.ipc.open_stream(content) as stream:
        for batch in stream:
            columns = [column.to_pylist() for column in batch.select(schema().names).columns]
            for at, (id_, document, query, context, answer, gold, value, refusal, language, history) in enumerate(
                zip(*columns, strict=True), first
            ):
                if at not in gone:
                    indices = None if gold is None else tuple(gold)
                    turns = tuple((role, text) for role, text in history) if history else ()
                    yield Triplet(
                        id_, document, query, tuple(context), answer, indices, value, refusal, language, turns
                    )
            first += batch.num_rows


def refusal_of(rows: Path) -> str | None:
    """The one refusal sentence of a folder of triplets: what `validate` noted, else that of the first refusal row.

    None where each row refuses with its language's own sentence.
    """
    noted = next(filter(None, map(_refusal_noted, files_of(rows))), None)
    first = noted or next((row for row in read_triplets(rows) if row.refusal), None)
    if first is None or isinstance(first, str):
        return first
    return None if first.answer == refusal_sentence(first.language) else first.answer


def _refusal_noted(path: Path) -> str | None:
    import pyarrow as pa

    with pa.ipc.open_stream(str(path)) as stream:
        noted = (stream.schema.metadata or {}).get(REFUSAL_KEY.encode())
    return noted.decode() if noted else None
