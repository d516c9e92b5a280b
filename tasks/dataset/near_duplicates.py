"""Near-duplicate contexts: Jaccard similarity of their sets of word 5-grams, told from sketches alone.

The similarity of two sets is told by the smallest hashes of their union (bottom-k sketches: Broder 1997).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasks.dataset.sketch import SHINGLES, Sketch

if TYPE_CHECKING:
    import numpy as np

GUESS = 0.4  # of the similarity asked for: what a guess from truncated sets must reach to be looked at closely
SUSPECT = 0.25  # share of a context's shingles that must be known before it is compared; similar by .5 has half or more
BITS = 22  # of a shingle, that index a table of 4 MB, which tells most unknown ones without a search


class NearDuplicates:
    """An index of the contexts that are evaluated on, asked for the one that is most similar to another."""

    def __init__(self, sketches: Iterable[tuple[Sketch, "np.ndarray"]]) -> None:
        """Index the rows of each sketch that the array, bool per row, selects; they are numbered through."""
        import numpy as np

        shingles, owners, self._sets = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)], list["np.ndarray"]()
        first_rows = [np.zeros(0, np.int64)]
        count = 0
        for sketch, chosen in sketches:
            rows = np.flatnonzero(chosen)
            contexts, first = np.unique(sketch.contexts[rows], return_index=True)
            sets = np.split(sketch.shingles, sketch.ends[:-1])
            for context in contexts.tolist():
                shingles.append(sets[context])
                owners.append(np.full(sets[context].size, len(self._sets)))
                self._sets.append(sets[context])
            first_rows.append(count + first)
            count += rows.size
        self._rows = np.concatenate(first_rows)  # of each indexed context
        self._sizes = np.array([each.size for each in self._sets], np.int64)
        every = np.concatenate(shingles)
        order = np.argsort(every, kind="stable")
        self._shingles, self._owners = every[order], np.concatenate(owners)[order]
        self._known = np.zeros(1 << BITS, bool)
        self._known[every >> np.uint32(32 - BITS)] = True

    def near(self, sketch: Sketch, at_least: float) -> list[tuple[int, float, int]]:
        """(row's number in the shard, similarity, evaluation row) of each row that is as similar as `at_least`."""
        import numpy as np

        if not self._sets:
            return []
        known = self._known[sketch.shingles >> np.uint32(32 - BITS)]
        starts = np.append(0, sketch.ends[:-1])
        shares = np.add.reduceat(known, starts, dtype=np.int64) / np.diff(sketch.ends, prepend=0)
        found: dict[int, tuple[float, int]] = {}
        for context in np.flatnonzero(shares >= SUSPECT).tolist():
            similarity, row = self._nearest(sketch.shingles[starts[context] : sketch.ends[context]], at_least)
            if similarity >= at_least:
                found[context] = round(similarity, 3), row
        return [
            (number, *found[context])
            for number, context in zip(sketch.numbers.tolist(), sketch.contexts.tolist(), strict=True)
            if context in found
        ]

    def _nearest(self, own: "np.ndarray", at_least: float) -> tuple[float, int]:
        """The similarity of the nearest indexed context, and the first row that has it; 0 for one that is not near."""
        import numpy as np

        first, last = (np.searchsorted(self._shingles, own, side) for side in ("left", "right"))
        counts = last - first
        places = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        shared = np.bincount(self._owners[places], minlength=self._sizes.size)
        # Of contexts that are kept whole this is the similarity itself, of others a guess that is seldom far off.
        guess = shared / (own.size + self._sizes - shared)
        best, nearest = 0.0, 0
        for other in np.flatnonzero(guess >= GUESS * at_least).tolist():
            similarity = jaccard(own, self._sets[other])
            if similarity > best:
                best, nearest = similarity, other
        return best, int(self._rows[nearest])


def jaccard(one: "np.ndarray", other: "np.ndarray") -> float:
    """Similarity of two sets, 0 to 1, from their smallest members, sorted; exact where these are all members."""
    import numpy as np

    smallest = np.union1d(one, other)[:SHINGLES] if max(one.size, other.size) == SHINGLES else np.union1d(one, other)
    both = np.intersect1d(one, other, assume_unique=True)
    return float(np.isin(smallest, both, assume_unique=True).mean())


def near(sketch: Sketch, index: NearDuplicates, at_least: float) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A shard's rows that are similar to an evaluation row, as facts: see `NearDuplicates.near`."""
    return {}, {"near": index.near(sketch, at_least)}
