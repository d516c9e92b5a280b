"""Rules across rows, from the shards' sketches alone: duplicates and conflicts, without a text."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Repeat(NamedTuple):
    """A row whose query and context an earlier row has: their places among all rows, and whether the answer is too."""

    row: int
    first: int
    same: bool


def repeats(keys: "np.ndarray", answers: "np.ndarray") -> list[Repeat]:
    """Rows with the key of an earlier row, in order. `keys` uint64 and `answers` uint32, one of each per row.

    Of n rows, two different ones share a 64-bit key with a chance of n²/2⁶⁵: 3e-8 for a million.
    """
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1  # places in `order`
    if not again.size:
        return []
    runs = np.cumsum(np.append(True, np.diff(again) > 1)) - 1  # consecutive places repeat one row
    firsts = order[again[np.append(True, np.diff(again) > 1)] - 1][runs]
    rows = order[again]
    same = answers[rows] == answers[firsts]
    return sorted(map(Repeat, rows.tolist(), firsts.tolist(), same.tolist()))
