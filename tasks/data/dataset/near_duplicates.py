"""Near-duplicate contexts: Jaccard similarity of their sets of word 5-grams, estimated from sketches.

The smallest hashes of the union of two sets give their similarity (bottom-k sketches: Broder 1997).
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tasks.data.dataset.sketch import SHINGLES, Sketch

if TYPE_CHECKING:
    import numpy as np

MARGIN = 16  # shingles beyond the necessary one that two contexts must share before they are compared
EPSILON = 1e-9  # .7 · 10 is a little more than 7
WINDOW = 256  # contexts looked up at a time: 2 MB of counters for 1,000 contexts that are evaluated on


class NearDuplicates:
    """An index of evaluation contexts, which finds the most similar one for another context.

    If one of two sets has n members, they have a similarity of t only if they share t·n of these. So they share at
    least one of the n − t·n + 1 that are rarest in the index, and m more of the m next rare (prefix filtering:
    Chaudhuri and others 2006); boilerplate that is in every context is never looked up. No similar pair is missed.
    """

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
        every = np.concatenate(shingles)
        order = np.argsort(every, kind="stable")
        self._owners = np.concatenate(owners)[order]
        self._shingles, self._starts = np.unique(every[order], return_index=True)
        self._counts = np.diff(np.append(self._starts, every.size))  # contexts that have each shingle

    def near(self, sketch: Sketch, at_least: float) -> list[tuple[int, float, int]]:
        """(row's number in the shard, similarity, evaluation row) of each row that is as similar as `at_least`."""
        found: dict[int, tuple[float, int]] = {}
        if self._sets:
            for context, other in self._candidates(sketch, at_least):
                own = sketch.shingles[sketch.ends[context - 1] if context else 0 : sketch.ends[context]]
                similarity = jaccard(own, self._sets[other])
                if similarity >= at_least and similarity > found.get(context, (0.0, 0))[0]:
                    found[context] = similarity, int(self._rows[other])
        return [
            (number, round(found[context][0], 3), found[context][1])
            for number, context in zip(sketch.numbers.tolist(), sketch.contexts.tolist(), strict=True)
            if context in found
        ]

    def _candidates(self, sketch: Sketch, at_least: float) -> Iterator[tuple[int, int]]:
        """(context, indexed context) of all pairs that may be similar, in order."""
        import numpy as np

        sizes = np.diff(sketch.ends, prepend=0)
        contexts = np.repeat(np.arange(sizes.size), sizes)
        places = np.minimum(np.searchsorted(self._shingles, sketch.shingles), self._shingles.size - 1)
        known = np.flatnonzero(self._shingles[places] == sketch.shingles)
        contexts, places = contexts[known], places[known]
        order = np.argsort(contexts << 32 | self._counts[places])  # each context's known ones, the rarest first
        contexts, places = contexts[order], places[order]
        having = np.bincount(contexts, minlength=sizes.size)
        rank = np.arange(contexts.size) - np.repeat(np.cumsum(having) - having, having) + (sizes - having)[contexts]
        shared = np.ceil(at_least * sizes - EPSILON).astype(np.int64)  # by any that is similar
        wanted = np.minimum(MARGIN, shared)
        looked_up = rank < (sizes - shared + wanted)[contexts]
        contexts, places = contexts[looked_up], places[looked_up]
        for first in range(0, sizes.size, WINDOW):
            start, end = np.searchsorted(contexts, (first, first + WINDOW))
            counts = self._counts[places[start:end]]
            ends = np.cumsum(counts)
            owners = self._owners[
                np.arange(counts.sum()) + np.repeat(self._starts[places[start:end]] - ends + counts, counts)
            ]
            pairs = np.repeat(contexts[start:end] - first, counts) * len(self._sets) + owners
            hits = np.bincount(pairs, minlength=1)
            likely = np.flatnonzero(hits)
            context, other = np.divmod(likely, len(self._sets))
            enough = hits[likely] >= wanted[first + context]
            yield from zip((first + context[enough]).tolist(), other[enough].tolist(), strict=True)


def jaccard(one: "np.ndarray", other: "np.ndarray") -> float:
    """Similarity of two sets, 0 to 1, from their smallest members, sorted; exact where these are all members."""
    import numpy as np

    smallest = np.union1d(one, other)[:SHINGLES] if max(one.size, other.size) == SHINGLES else np.union1d(one, other)
    both = np.intersect1d(one, other, assume_unique=True)
    return float(np.isin(smallest, both, assume_unique=True).mean())


def near(sketch: Sketch, index: NearDuplicates, at_least: float) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A shard's rows that are similar to an evaluation row, as facts: see `NearDuplicates.near`."""
    return {}, {"near": index.near(sketch, at_least)}
