"""The row that flows through the pipeline, and its Arrow form."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1_000  # as `datasets` writes
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


def schema() -> "pa.Schema":
    """The Arrow schema of a `rows.arrow`: one column per field of `Triplet`, in its order."""
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
        ]
    )


class TripletWriter(AbstractContextManager["TripletWriter"]):
    """Writes triplets to an Arrow IPC stream in small batches: ``with TripletWriter(path) as w: w.add(row)``.

    `datasets.Dataset.from_file` opens the file as it is.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._schema = schema()
        self._stream = pa.ipc.new_stream(str(path), self._schema)
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._stream.close()


def read_triplets(path: Path) -> Iterator[Triplet]:
    """The rows of an Arrow IPC stream, in order, one batch in memory at a time."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
        for batch in stream:
            columns = [column.to_pylist() for column in batch.select(schema().names).columns]
            for id_, document, query, context, answer, gold, value, refusal in zip(*columns, strict=True):
                indices = None if gold is None else tuple(gold)
                yield Triplet(id_, document, query, tuple(context), answer, indices, value, refusal)
