"""A folder that `datasets.load_from_disk` opens."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path

from tasks.dataset.sequences import Sequences

BATCH = 1_000  # sequences at a time, as `datasets` writes


def save(sequences: Sequences, bins: Sequence[Sequence[int]], folder: Path) -> None:
    """Write the packed sequences, one for each bin; equal sequences give equal bytes."""
    import datasets
    import pyarrow as pa
    from datasets.table import MemoryMappedTable

    columns = {name: datasets.List(datasets.Value("int32")) for name in ("input_ids", "labels", "seq_lengths")}
    schema = datasets.Features(columns).arrow_schema
    scratch = folder.with_suffix(".arrow")  # beside it: `datasets` never writes into a folder that it reads
    with pa.ipc.new_stream(str(scratch), schema) as stream:
        for start in range(0, len(bins), BATCH):
            stream.write_batch(sequences.packed(bins[start : start + BATCH]).cast(schema))
    with scratch.open("rb") as file:  # left to itself, `datasets` makes a fingerprint from chance
        fingerprint = file_digest(file, "sha256").hexdigest()[:16]
    datasets.disable_progress_bars()
    dataset = datasets.Dataset(MemoryMappedTable.from_file(str(scratch)), fingerprint=fingerprint)
    dataset.save_to_disk(str(folder), num_shards=None if bins else 1)  # of no shards, no rows could be loaded again
    datasets.enable_progress_bars()
    scratch.unlink()
