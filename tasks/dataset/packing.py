"""Packing: several rows in one sequence of nearly full length, each still seeing itself alone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def pack(lengths: "np.ndarray", capacity: int, *, packing: bool, seed: int) -> list[list[int]]:
    """Indices of the rows in each sequence, rows and sequences in an order drawn from the seed."""
    import numpy as np

    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    if not packing:
        return [[row] for row in order.tolist()]
    bins = best_fit_decreasing(lengths[order], capacity)
    random.shuffle(bins)  # they come longest row first
    return [order[bin_].tolist() for bin_ in bins]


def best_fit_decreasing(lengths: "np.ndarray", capacity: int) -> list[list[int]]:
    """Indices of the rows in each sequence; no row is cut, and no sequence holds more than `capacity` tokens.

    The longest row first, each into the fullest sequence that still takes it.
    """
    import numpy as np

    bins: list[list[int]] = []
    bins_by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    has_room = bytearray(capacity + 1)  # whether there is a bin with exactly so much room; find() is the best fit
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        room = has_room.find(1, length)
        if room < 0:
            room, bin_ = capacity, len(bins)
            bins.append([row])
        else:
            bin_ = bins_by_room[room].pop()
            has_room[room] = bool(bins_by_room[room])
            bins[bin_].append(row)
        bins_by_room[room - length].append(bin_)
        has_room[room - length] = room > length
    return bins
