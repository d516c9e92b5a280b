"""What a context says, precomputed, so that many measures of one answer read it once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from math import log

from tasks.text.entities import entities
from tasks.text.numbers import numbers, supported_numbers
from tasks.text.words import STOP_WORDS, sentences, stem, words


class Words:
    """A text's words, stems and content stems, each computed once."""

    def __init__(self, text: str) -> None:
        self.words = words(text)

    @cached_property
    def stems(self) -> list[str]:
        return list(map(stem, self.words))

    @cached_property
    def content(self) -> list[str]:
        return [stem for word, stem in zip(self.words, self.stems, strict=True) if word not in STOP_WORDS]


@lru_cache(maxsize=256)  # an answer, its sentences and its query, for as long as their row is being scored
def analysed(text: str) -> Words:
    return Words(text)


class ContextView:
    """The passages of one row, read for support of an answer.

    Coverages are shares from 0 to 1, or None where the answer has nothing to measure: no word, or for the measures of
    content no word beside stop words. They see what is absent from the context. They do not see a number or name that
    was swapped for another one of the same context, nor negation.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self.passages = tuple(passages)

    @cached_property
    def _read(self) -> list[Words]:
        return [Words(passage) for passage in self.passages]

    @cached_property
    def word_counts(self) -> Counter[str]:
        return Counter(word for passage in self._read for word in passage.words)

    @cached_property
    def content(self) -> frozenset[str]:
        return frozenset(stem for passage in self._read for stem in passage.content)

    @cached_property
    def bigrams(self) -> frozenset[tuple[str, str]]:
        return frozenset(pair for passage in self._read for pair in pairwise(passage.stems))

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(stem for passage in self._read for stem in passage.stems)

    @cached_property
    def idf(self) -> dict[str, float]:
        """Smoothed inverse document frequency over the passages, of the stems that occur in them."""
        frequency = Counter(stem for passage in self._read for stem in set(passage.content))
        return {stem: log((1 + len(self.passages)) / (1 + count)) + 1 for stem, count in frequency.items()}

    @cached_property
    def _idf_of_absent(self) -> float:
        return log(1 + len(self.passages)) + 1

    @cached_property
    def _windows(self) -> tuple[dict[str, list[int]], int]:
        """For each content stem the windows of two sentences that hold it, and how many windows there are."""
        holding: dict[str, list[int]] = {}
        count = 0
        for passage in self.passages:
            said = [set(Words(sentence).content) for sentence in sentences(passage)]
            for window in [a | b for a, b in pairwise(said)] or said:
                for stem in window:
                    holding.setdefault(stem, []).append(count)
                count += 1
        return holding, count

    @cached_property
    def numbers(self) -> frozenset[str]:
        return supported_numbers("\n".join(self.passages))

    def k_precision(self, answer: str) -> float | None:
        """Share of the answer's words that the context holds, each at most as often as the context does."""
        counts, held = Counter(analysed(answer).words), self.word_counts
        return _share(sum(min(count, held[word]) for word, count in counts.items()), counts.total())

    def content_coverage(self, answer: str) -> float | None:
        """Share of the answer's content stems that the context holds."""
        content = analysed(answer).content
        return _share(sum(stem in self.content for stem in content), len(content))

    def bigram_coverage(self, answer: str) -> float | None:
        """Share of the answer's stem bigrams, stop words kept, that the context holds; of a single word, its stem."""
        stems = analysed(answer).stems
        if len(stems) == 1:
            return float(stems[0] in self.stems)
        return _share(sum(pair in self.bigrams for pair in pairwise(stems)), len(stems) - 1)

    def idf_coverage(self, answer: str) -> float | None:
        """IDF mass of the answer's content stems that the context holds, over the mass of all of them."""
        content = analysed(answer).content
        return _share(self._mass(stem for stem in content if stem in self.idf), self._mass(content))

    def best_window_idf_coverage(self, answer: str) -> float | None:
        """The same for the two consecutive sentences of a passage that cover the answer best."""
        content = analysed(answer).content
        holding, count = self._windows
        masses = [0.0] * (count or 1)
        for stem in content:
            for window in holding.get(stem, ()):
                masses[window] += self.idf[stem]
        return _share(max(masses), self._mass(content))

    def unsupported_numbers(self, answer: str) -> list[str]:
        """Numbers in the answer that the context states neither in digits nor in words."""
        return [number for number in numbers(answer) if number not in self.numbers]

    def unsupported_entities(self, answer: str, query: str = "") -> list[str]:
        """Names in the answer of which some word stands neither in the context nor in the query."""
        asked = analysed(query)
        held = [self.word_counts, set(asked.words), self.stems, set(asked.stems)]
        return [
            entity
            for entity in entities(answer)
            if not all(word in STOP_WORDS or any(word in h or stem(word) in h for h in held) for word in words(entity))
        ]

    def _mass(self, stems: Iterable[str]) -> float:
        return sum(self.idf.get(stem, self._idf_of_absent) for stem in stems)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
