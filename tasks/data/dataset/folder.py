"""A folder of tokenised rows, in shards, with the sequences that they are packed into.

`datasets.load_from_disk` opens it as rows; `load` as packed sequences. The tokens stand once, in the shards; a sequence
names its rows. So a changed shard costs its own size on the disk, not that of the dataset.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tasks.data.dataset.packing import Packing
from tasks.engine.digests import digests
from tasks.prompts.pieces import Tokens

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out
SEQUENCES = "sequences.arrow"
SHARED = b"shared"
EARLIER = "earlier"  # column: where answers of earlier turns begin and end, if the loss is on them, too
INT32 = {"dtype": "int32", "_type": "Value"}
FEATURES = {"input_ids": {"feature": INT32, "_type": "List"}, "prompt_tokens": INT32}


class Lengths(NamedTuple):
    """int32 per row, in the order of the shards: tokens of the prompt, and of prompt and completion."""

    prompts: "np.ndarray"
    wholes: "np.ndarray"

    @classmethod
    def of(cls, folder: Path) -> "Lengths":
        """Lengths of the rows in a folder of shards; the tokens themselves are not read."""
        import numpy as np
        import pyarrow as pa

        prompts, wholes = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for path in shards(folder):
            with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
                for batch in stream:
                    prompts.append(batch["prompt_tokens"].to_numpy().copy())  # a view would keep the file mapped
                    wholes.append(np.diff(batch["input_ids"].offsets.to_numpy()))
        return cls(np.concatenate(prompts), np.concatenate(wholes))


def tokens_schema() -> "pa.Schema":
    """A row's tokens, prompt and completion, and how many of them are the prompt's."""
    import pyarrow as pa

    return pa.schema([("input_ids", pa.list_(pa.int32())), ("prompt_tokens", pa.int32())])


def tokens(batches: Iterable[tuple[Tokens, Tokens]], earlier: Sequence[Sequence[int]] | None = None) -> bytes:
    """An Arrow IPC stream of rows' tokens, a record batch for each batch of prompts and completions.

    `earlier`, if the loss is on earlier answers, too, has for each row where these begin and end.
    """
    import numpy as np
    import pyarrow as pa

    sink, schema, done = pa.BufferOutputStream(), tokens_schema(), 0
    if earlier is not None:
        schema = schema.append(pa.field(EARLIER, pa.list_(pa.int32())))
    with pa.ipc.new_stream(sink, schema) as stream:
        for prompts, completions in batches:
            asked = np.tile([True, False], prompts.lengths.size)  # prompt and completion in turn
            asked = np.repeat(asked, np.stack([prompts.lengths, completions.lengths], axis=1).ravel())
            ids = np.empty(asked.size, np.int32)
            ids[asked], ids[~asked] = prompts.values, completions.values
            ends = (prompts.offsets + completions.offsets).astype(np.int32)
            columns = [pa.ListArray.from_arrays(ends, ids), pa.array(prompts.lengths, pa.int32())]
            if earlier is not None:
                columns.append(pa.array(earlier[done : done + prompts.lengths.size], pa.list_(pa.int32())))
                done += prompts.lengths.size
            stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.arrow") if path.name != SEQUENCES)


def finish(
    folder: Path, lengths: Lengths, packing: Packing, known: "np.ndarray | None" = None, *, shared: bool = False
) -> None:
    """Write what makes a folder of shards of tokens, or an empty folder, a packed dataset.

    `known`, bool per sequence, marks sequences that the champion was trained on. `shared`: rows of a sequence that
    begin alike stand behind one copy of their beginning, see `load`.
    """
    import numpy as np
    import pyarrow as pa

    folder.mkdir(exist_ok=True)
    if not shards(folder):
        (folder / "00000.arrow").write_bytes(tokens([]))
    ends = np.append(0, packing.ends).astype(np.int32)
    columns = {
        "rows": pa.ListArray.from_arrays(ends, packing.rows),
        "seq_lengths": pa.ListArray.from_arrays(ends, lengths.wholes[packing.rows].astype(np.int32)),
    }
    columns["known"] = pa.array(np.zeros(len(packing), bool) if known is None else known)
    table = pa.table(columns).replace_schema_metadata({SHARED: "true"} if shared else None)
    with pa.ipc.new_stream(str(folder / SEQUENCES), table.schema) as stream:
        stream.write_table(table, max_chunksize=10_000)
    names = [path.name for path in shards(folder)]
    with pa.ipc.open_stream(str(folder / names[0])) as stream:
        more = {EARLIER: {"feature": INT32, "_type": "List"}} if EARLIER in stream.schema.names else {}
    (folder / "dataset_info.json").write_bytes(orjson.dumps({"features": FEATURES | more}))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": sha256((folder / SEQUENCES).read_bytes()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_bytes(orjson.dumps(state))


def load(folder: Path, *, replay: float = 1.0, seed: int = 0) -> "datasets.Dataset":
    """The packed sequences: input_ids, labels (-100 on the prompts) and seq_lengths, lists of int32.

    Where beginnings are shared, seq_lengths are those of pieces, a beginning or what follows one, and `behind` has for
    each the piece that it continues, -1 for none: a row goes on from its beginning, and sees nothing between.

    Of the sequences that the champion was trained on, a share of `replay` is kept, drawn from the seed. Tokens are read
    from the memory-mapped shards when a sequence is requested.
    """
    import datasets
    import numpy as np

    rows = datasets.load_from_disk(str(folder), keep_in_memory=False).with_format("arrow")
    sequences = datasets.Dataset.from_file(str(folder / SEQUENCES))
    known = np.flatnonzero(sequences["known"][:])
    left_out = np.random.default_rng(seed).permutation(known)[round(replay * len(known)) :]
    if left_out.size:
        sequences = sequences.select(np.setdiff1d(np.arange(len(sequences)), left_out))
    return sequences.with_transform(partial(_gathered, rows, is_shared(folder)))


def is_shared(folder: Path) -> bool:
    """Whether rows of a sequence that begin alike stand behind one copy of their beginning."""
    import pyarrow as pa

    with pa.ipc.open_stream(str(folder / SEQUENCES)) as stream:
        return SHARED in (stream.schema.metadata or {})


def _gathered(rows: "datasets.Dataset", shared: bool, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of sequences with the tokens of their rows."""
    import numpy as np

    if "rows" not in batch:  # someone asks for a column of numbers
        return batch
    ids, labels = [], []
    pieces: dict[str, list[list[int]]] = {"seq_lengths": [], "behind": []} if shared else {}
    for numbers in batch["rows"]:
        table = rows[list(numbers)].combine_chunks()
        whole = table["input_ids"].chunk(0)
        prompts, ends = table["prompt_tokens"].to_numpy(), whole.offsets.to_numpy()
        values = whole.flatten().to_numpy()
        counts = np.diff(ends)
        nth = np.arange(values.size) - np.repeat(ends[:-1] - ends[0], counts)  # token of its row
        wanted = np.where(nth < np.repeat(prompts, counts), IGNORED, values)
        if EARLIER in table.column_names:
            prompts = prompts.copy()  # up to where there is something to learn
            for row, places in enumerate(table[EARLIER].to_pylist()):
                prompts[row] = min([prompts[row], *places])
                for start, end in zip(places[::2], places[1::2], strict=True):
                    learnt = slice(ends[row] - ends[0] + start, ends[row] - ends[0] + end)
                    wanted[learnt] = values[learnt]
        if shared:
            kept, lengths, behind = _pieces(np.split(values, (ends - ends[0])[1:-1]), prompts)
            values, wanted = values[kept], wanted[kept]
            pieces["seq_lengths"].append(lengths)
            pieces["behind"].append(behind)
        ids.append(values.tolist())
        labels.append(wanted.tolist())
    return {"input_ids": ids, "labels": labels, "seq_lengths": batch["seq_lengths"], **pieces}


def _pieces(rows: "list[np.ndarray]", prompts: "np.ndarray") -> "tuple[np.ndarray, list[int], list[int]]":
    """Which tokens of a sequence's rows stay, a bool for each; the lengths of its pieces, and what each continues."""
    import numpy as np

    kept: list[np.ndarray] = []
    lengths: list[int] = []
    behind: list[int] = []
    for group, common in alike(rows, prompts):
        if len(group) > 1:
            head = len(lengths)
            lengths.append(common)
            behind.append(-1)
        for row in group:
            start = common if len(group) > 1 else 0
            kept.append(np.arange(len(rows[row])) >= (start if row != group[0] else 0))
            lengths.append(len(rows[row]) - start)
            behind.append(head if len(group) > 1 else -1)
    return np.concatenate(kept), lengths, behind


def alike(rows: "Sequence[np.ndarray]", prompts: "Sequence[int] | np.ndarray") -> Iterator[tuple[list[int], int]]:
    """Runs of rows, by their places, of which at least half of each prompt is the same; and how many tokens that is.

    A row by itself has all but one in common. What is shared is less than any of the prompts.
    """
    import numpy as np

    group: list[int] = []
    common = 0
    for place, ids in enumerate(rows):
        if group:
            most = min(common, len(ids), int(prompts[place]) - 1)
            differ = np.flatnonzero(ids[:most] != rows[group[-1]][:most])
            same = int(differ[0]) if differ.size else most
            if 2 * same >= max(int(prompts[place]), *(int(prompts[row]) for row in group)):
                group, common = [*group, place], same
                continue
            yield group, common
        group, common = [place], int(prompts[place]) - 1
    if group:
        yield group, common


def same_beginnings(folder: Path) -> list[list[int]]:
    """All rows of a folder of shards, by number, in groups that begin alike; the tokens are in memory meanwhile."""
    import numpy as np
    import pyarrow as pa

    rows: list[np.ndarray] = []
    for path in shards(folder):
        with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
            for batch in stream:
                ids = batch["input_ids"]
                rows += np.split(ids.values.to_numpy(), ids.offsets.to_numpy()[1:-1])
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i4").tobytes())
    prompts = Lengths.of(folder).prompts[order]
    return [[order[at] for at in group] for group, _ in alike([rows[row] for row in order], prompts)]


def is_known(folder: Path, known: Path) -> "np.ndarray":
    """bool per row of a tokenised dataset: whether the dataset `known` has a row with the same tokens.

    A shard that both have needs no reading.
    """
    import numpy as np

    ours = {path: digests().of(path) for path in shards(folder)}
    theirs = {path: digests().of(path) for path in shards(known)}
    seen: set[bytes] = set()
    for path, digest in theirs.items():
        if digest not in ours.values():
            seen.update(_digests(path))
    found = [np.zeros(0, bool)]
    for path, digest in ours.items():
        rows = _digests(path)
        shared = digest in theirs.values()
        found.append(np.array([shared or row in seen for row in rows], bool))
    return np.concatenate(found)


def _digests(path: Path) -> list[bytes]:
    """A digest of 16 bytes for each row of a shard."""
    import pyarrow as pa

    found = []
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        for batch in stream:
            ids, prompts = batch["input_ids"], batch["prompt_tokens"].to_pylist()
            values, ends = ids.values.to_numpy(), ids.offsets.to_pylist()
            for start, end, prompt in zip(ends, ends[1:], prompts, strict=False):
                hashed = blake2b(prompt.to_bytes(4, "little"), digest_size=16)
                hashed.update(values[start:end].tobytes())
                found.append(hashed.digest())
    return found
