"""Which of many texts are nearest to one: BM25, by bm25s."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.engine.errors import UserError, install

if TYPE_CHECKING:
    import numpy as np


class Bm25:
    """An index of texts, given as lists of their words. Raises UserError if bm25s is not installed."""

    def __init__(self, texts: Sequence[Sequence[str]], extra: str = "documents") -> None:
        try:
            import bm25s
        except ImportError:
            raise UserError("bm25s is not installed", install(extra)) from None
        self._words: dict[str, int] = {}
        numbered = [[self._words.setdefault(word, len(self._words)) for word in text] for text in texts]
        self._count = len(texts)
        self._index = bm25s.BM25(auto_compile=False)
        if self._words:
            self._index.index((numbered, self._words), show_progress=False)

    def scores(self, words: Sequence[str]) -> "np.ndarray":
        """Of each text, float32, up."""
        import numpy as np

        known = [self._words[word] for word in words if word in self._words]
        found: np.ndarray = self._index.get_scores_from_ids(known) if known else np.zeros(self._count, "float32")
        return found

    @staticmethod
    def highest(scores: "np.ndarray", count: int, among: "np.ndarray | None" = None) -> list[int]:
        """The numbers of the texts with the highest scores, the highest first; of equal ones the first."""
        import numpy as np

        places = np.arange(len(scores)) if among is None else among
        order: list[int] = places[np.argsort(-scores[places], kind="stable")[:count]].tolist()
        return order
