"""Tokenised rows, kept on disk while they wait to be packed, so that memory stays flat."""

from collections.abc import Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING

from tasks.prompts import Tokens

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out


class Sequences:
    """Rows of prompt and completion ids, appended to a scratch file in batches and read back in any order."""

    def __init__(self, scratch: IO[bytes]) -> None:
        self._scratch = scratch
        self._prompts: list[np.ndarray] = []
        self._wholes: list[np.ndarray] = []

    def append(self, prompts: Tokens, completions: Tokens) -> None:
        import numpy as np

        before, after = prompts.values.size, completions.values.size
        ids = np.empty(before + after, np.int32)
        ids[np.arange(before) + np.repeat(completions.offsets[:-1], prompts.lengths)] = prompts.values
        ids[np.arange(after) + np.repeat(prompts.offsets[1:], completions.lengths)] = completions.values
        self._scratch.write(ids.tobytes())
        self._prompts.append(prompts.lengths)
        self._wholes.append(prompts.lengths + completions.lengths)

    @cached_property
    def prompt_lengths(self) -> "np.ndarray":
        """int64, tokens of each row's prompt; ask when all rows are in."""
        return _joined(self._prompts)

    @cached_property
    def lengths(self) -> "np.ndarray":
        """int64, tokens of each row, prompt and completion; ask when all rows are in."""
        return _joined(self._wholes)

    def packed(self, bins: Sequence[Sequence[int]]) -> "pa.RecordBatch":
        """One record for each bin of rows: input_ids, labels (-100 on the prompts) and seq_lengths, lists of int32."""
        import numpy as np
        import pyarrow as pa

        rows = np.concatenate([np.asarray(bin_) for bin_ in bins])
        lengths, starts = self.lengths[rows], self._starts[rows]
        ids = np.concatenate([self._ids[a:b] for a, b in zip(starts, starts + lengths, strict=True)])
        nth = np.arange(ids.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # token of its row
        labels = np.where(nth < np.repeat(self.prompt_lengths[rows], lengths), np.int32(IGNORED), ids)
        row_ends = np.cumsum([0, *map(len, bins)])
        token_ends = np.append(0, np.cumsum(lengths))[row_ends]
        columns = ((token_ends, ids), (token_ends, labels), (row_ends, lengths.astype(np.int32)))
        return pa.RecordBatch.from_arrays(
            [pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values)) for ends, values in columns],
            names=["input_ids", "labels", "seq_lengths"],
        )

    @cached_property
    def _ids(self) -> "np.ndarray":
        import numpy as np

        self._scratch.flush()
        return np.memmap(self._scratch, np.int32, "r")

    @cached_property
    def _starts(self) -> "np.ndarray":
        import numpy as np

        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts


def _joined(parts: "list[np.ndarray]") -> "np.ndarray":
    import numpy as np

    return np.concatenate([np.zeros(0, np.int64), *parts])
