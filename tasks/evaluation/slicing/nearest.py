"""What of other documents is most like a question: near misses to mislead with, and values to swap in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.data.triplets import Triplet
from tasks.evaluation.slicing.draw import draw
from tasks.text import content_stems

if TYPE_CHECKING:
    import numpy as np

MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiplying by it spreads the bits (Knuth)
LOT = 1e-4  # what a lot weighs beside a share: two shares of a question's words lie further apart


class Nearest:
    """For each question, things of other documents, one of each, whose text holds most of the question's words.

    A likeness is of a question and a thing alone, and lots, drawn from both, settle ties. So beside n documents, one
    more takes a place among a question's k with a chance of k / (n + 1): less can be had only by preferring what came
    first, and rows have no order. Weights over the whole set (IDF) would move every question's list with each row.
    Memory holds `most` things a question, and three numbers of each offer.
    """

    def __init__(self, rows: Sequence[Triplet], *, salt: str, most: int) -> None:
        import numpy as np

        stems = [set(content_stems(row.query)) for row in rows]
        holding: dict[str, list[int]] = {}
        for at, each in enumerate(stems):
            for stem in each:
                holding.setdefault(stem, []).append(at)
        self._holding = {stem: np.array(questions) for stem, questions in holding.items()}
        self._words = np.maximum(1, [len(each) for each in stems])
        self._documents = np.array([draw(row.document) for row in rows], np.uint64)
        self._lots = np.array([draw(salt, row.id) for row in rows], np.uint64)
        self._salt, self._most = salt, most
        self._found: list[dict[int, tuple[float, str]]] = [{} for _ in rows]  # by document
        self._least = np.full(len(rows), -1.0)  # likeness that a thing must exceed to be kept
        self._seen: set[tuple[int, int, int]] = set()

    def offer(self, document: str, text: str, thing: str) -> None:
        """Look at a `thing` of a document, compared by `text`; both again change nothing."""
        import numpy as np

        of, lot = draw(document), draw(self._salt, thing)
        offer = (of, lot, draw(text))
        if offer in self._seen:
            return
        self._seen.add(offer)
        held = [self._holding[stem] for stem in set(content_stems(text)) if stem in self._holding]
        shared = np.bincount(np.concatenate([np.zeros(0, np.int64), *held]), minlength=len(self._words))
        like = shared / self._words + LOT * self._lot(lot)
        for at in np.flatnonzero((like > self._least) & (self._documents != np.uint64(of))).tolist():
            found = self._found[at]
            found[of] = max(found.get(of, (-1.0, "")), (float(like[at]), thing))
            if len(found) > self._most:
                del found[min(found, key=found.__getitem__)]
            if len(found) == self._most:
                self._least[at] = min(found.values())[0]

    def _lot(self, lot: int) -> "np.ndarray":
        """From 0 to 1, of each question and the thing."""
        import numpy as np

        mixed = (self._lots ^ np.uint64(lot)) * np.uint64(MIX)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(MIX)
        return (mixed >> np.uint64(11)) / 2**53

    def of(self, question: int) -> list[str]:
        """Things for the question of that number, the likest first."""
        return list(dict.fromkeys(thing for _, thing in sorted(self._found[question].values(), reverse=True)))
