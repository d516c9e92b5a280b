"""Packing: several rows in one sequence, each seeing itself alone."""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Packing(NamedTuple):
    """Which rows stand in each sequence: those of sequence i are ``rows[ends[i - 1] : ends[i]]``."""

    rows: "np.ndarray"  # int32
    ends: "np.ndarray"  # int32

    def __len__(self) -> int:
        return len(self.ends)


def pack(lengths: "np.ndarray", capacity: int, *, packing: bool, seed: int) -> Packing:
    """Rows and sequences in an order drawn from the seed; without `packing`, one row in each sequence."""
    import numpy as np

    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths)).astype(np.int32)
    if not packing:
        return Packing(order, np.arange(1, len(order) + 1, dtype=np.int32))
    packed = best_fit_decreasing(lengths[order], capacity)
    return _shuffled(Packing(order[packed.rows], packed.ends), random)


def pack_groups(lengths: "np.ndarray", groups: Sequence[Sequence[int]], capacity: int, *, seed: int) -> Packing:
    """Pack so that the rows of a group stand side by side, in as few sequences as they fit."""
    import numpy as np

    random = np.random.default_rng(seed)
    units: list[list[int]] = []
    for group in groups:
        taken = capacity + 1
        for row in random.permutation(np.array(group, np.int32)).tolist():
            if taken + lengths[row] > capacity:
                units.append([])
                taken = 0
            units[-1].append(row)
            taken += int(lengths[row])
    packed = pack(np.array([lengths[unit].sum() for unit in units], np.int64), capacity, packing=True, seed=seed)
    rows = [row for unit in packed.rows for row in units[unit]]
    counts = np.cumsum([0, *(len(units[unit]) for unit in packed.rows)])
    return Packing(np.array(rows, np.int32), counts[packed.ends].astype(np.int32))


def pack_apart(
    lengths: "np.ndarray",
    apart: "np.ndarray",
    capacity: int,
    *,
    packing: bool,
    seed: int,
    groups: Sequence[Sequence[int]] | None = None,
    dropped: "np.ndarray | None" = None,
) -> Packing:
    """Pack the rows for which `apart` (bool) is false, then the others, so that no sequence holds both kinds.

    `groups` are kept together. Rows that are `dropped` (their numbers) are in no sequence.
    """
    import numpy as np

    rows, ends = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for kind in (~apart, apart):
        chosen = np.setdiff1d(np.flatnonzero(kind), [] if dropped is None else dropped).astype(np.int32)
        if groups is None:
            packed = pack(lengths[chosen], capacity, packing=packing, seed=seed)
        else:
            places = {row: place for place, row in enumerate(chosen.tolist())}
            own = [[places[row] for row in group if row in places] for group in groups]
            packed = pack_groups(lengths[chosen], list(filter(None, own)), capacity, seed=seed)
        ends.append(packed.ends + np.int32(sum(map(len, rows))))
        rows.append(chosen[packed.rows])
    return Packing(np.concatenate(rows), np.concatenate(ends))


def _shuffled(packed: Packing, random: "np.random.Generator") -> Packing:
    """The sequences, which come longest row first, in another order."""
    import numpy as np

    order = np.arange(len(packed), dtype=np.int32)
    random.shuffle(order)
    counts = np.diff(packed.ends, prepend=np.int32(0))
    starts, counts = (packed.ends - counts)[order], counts[order]
    ends = np.cumsum(counts, dtype=np.int32)
    places = np.repeat(starts - ends + counts, counts)
    places += np.arange(len(places), dtype=np.int32)
    return Packing(packed.rows[places], ends)


def best_fit_decreasing(lengths: "np.ndarray", capacity: int) -> Packing:
    """The longest row first, each into the fullest sequence with room for it; no row is cut.

    Rows of one length are placed together: the fullest sequence takes as many of them as it has room for, then the next
    does. So the cost goes by the number of lengths rather than of rows: less than half a second for a million.
    """
    import numpy as np

    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    ordered = lengths[order]
    firsts = np.flatnonzero(np.diff(ordered, prepend=0)).tolist()
    groups = zip(ordered[firsts].tolist(), firsts, [*firsts, len(order)][1:], strict=False)
    sequences = np.empty(len(order), np.int32)  # that each row goes into, in `order`
    by_room = [array("i") for _ in range(capacity + 1)]
    has_room = bytearray(capacity + 1)  # whether there is one with exactly so much room; find() is the best fit
    count = 0
    for length, at, end in groups:
        while at < end:
            room = has_room.find(1, length)
            fits = (capacity if room < 0 else room) // length
            wanted = -((at - end) // fits)
            if room < 0:
                room, open_ = capacity, array("i", range(count + wanted - 1, count - 1, -1))
                count += wanted
            else:
                open_ = by_room[room]
            taken = open_[: -wanted - 1 : -1]
            del open_[-wanted:]
            has_room[room] = bool(open_)
            placed = min(end - at, len(taken) * fits)
            sequences[at : at + placed] = np.repeat(np.frombuffer(taken, np.int32), fits)[:placed]
            at += placed
            last = placed - (len(taken) - 1) * fits  # rows that the last of them was given
            for some, left in ((taken[:-1], room - fits * length), (taken[-1:], room - last * length)):
                by_room[left] += some
                has_room[left] = bool(by_room[left])
    rows = order[np.argsort(sequences, kind="stable")]
    return Packing(rows, np.cumsum(np.bincount(sequences, minlength=count), dtype=np.int32))
