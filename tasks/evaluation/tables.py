"""Tables in files: Arrow IPC streams, which are read a batch at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BATCH = 10_000  # rows


def write_table(path: Path, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
    """Write columns with their Arrow types, such as ``{"id": ("string", ids)}``; None and NaN are null."""
    import pyarrow as pa

    arrays = {name: pa.array(values, kind, from_pandas=True) for name, (kind, values) in columns.items()}
    table = pa.table(arrays)
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table, max_chunksize=BATCH)


def read_table(path: Path, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, of each the values of these columns."""
    import pyarrow as pa

    with pa.ipc.open_stream(str(path)) as stream:
        for batch in stream:
            yield from zip(*(batch[name].to_pylist() for name in names), strict=True)
