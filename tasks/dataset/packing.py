"""Packing: several rows in one sequence, each seeing itself alone."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

WINDOW = 1 << 16  # rows packed at a time; memory stays flat, and of 65,536 rows the last few bins are not full


class Packing(NamedTuple):
    """Which rows stand in each sequence: those of sequence i are ``rows[ends[i - 1] : ends[i]]``."""

    rows: "np.ndarray"  # int32
    ends: "np.ndarray"  # int64

    def __len__(self) -> int:
        return len(self.ends)


def pack(lengths: "np.ndarray", capacity: int, *, packing: bool, seed: int) -> Packing:
    """Rows and sequences in an order drawn from the seed; without `packing`, one row in each sequence."""
    import numpy as np

    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths)).astype(np.int32)
    if not packing:
        return Packing(order, np.arange(1, len(order) + 1))
    rows, counts = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        bins = best_fit_decreasing(lengths[window], capacity)
        rows += [window[np.concatenate(bins)]]
        counts += [np.array(list(map(len, bins)))]
    return _shuffled(np.concatenate(rows), np.concatenate(counts), random)


def pack_apart(lengths: "np.ndarray", apart: "np.ndarray", capacity: int, *, packing: bool, seed: int) -> Packing:
    """Pack the rows for which `apart` (bool) is false, then the others, so that no sequence holds both kinds."""
    import numpy as np

    rows, ends = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for kind in (~apart, apart):
        chosen = np.flatnonzero(kind).astype(np.int32)
        packed = pack(lengths[chosen], capacity, packing=packing, seed=seed)
        ends.append(packed.ends + sum(map(len, rows)))
        rows.append(chosen[packed.rows])
    return Packing(np.concatenate(rows), np.concatenate(ends))


def _shuffled(rows: "np.ndarray", counts: "np.ndarray", random: "np.random.Generator") -> Packing:
    """The sequences, which come longest row first, in another order."""
    import numpy as np

    order = np.arange(len(counts))
    random.shuffle(order)
    starts, counts = (np.cumsum(counts) - counts)[order], counts[order]
    ends = np.cumsum(counts)
    places = np.arange(len(rows)) - np.repeat(ends - counts, counts) + np.repeat(starts, counts)
    return Packing(rows[places], ends)


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
