"""What a context says, read once, so that many measures of an answer can ask it."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from math import log

from tasks.text.names import entities
from tasks.text.quantities import numbers, stands, supported_numbers
from tasks.text.tokens import STOP_WORDS, content_stems, normalise, sentences, stem, words


class Words:
    """Words in their order, their stems, and the stems of those that are not stop words."""

    __slots__ = ("content", "stems", "words")

    def __init__(self, said: list[str]) -> None:
        self.words = said
        self.stems = list(map(stem, self.words))
        self.content = [s for word, s in zip(self.words, self.stems, strict=True) if word not in STOP_WORDS]


@lru_cache(maxsize=256)  # an answer, its sentences and its query, for as long as their row is being read
def read(text: str) -> Words:
    return Words(words(text))


class ContextView:
    """The passages of one row, read for support of an answer.

    Coverages are shares from 0 to 1, or None where the answer has nothing to measure: no word, or for the
    measures of content no word beside stop words. They see what is absent from the context. They do not see a
    number or name that was swapped for another one of the same context, nor negation.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self.passages = tuple(passages)

    @cached_property
    def _folded(self) -> str:
        """All passages in the case of `words`, to look for single words in."""
        text = "\n".join(self.passages)
        return text.lower() if text.isascii() else normalise(text).casefold()

    def _has(self, word: str) -> bool:
        """Whether the word, as it is, is one of the context's: half a microsecond, where reading them all takes 80."""
        text, start = self._folded, -1
        while (start := text.find(word, start + 1)) >= 0:
            end = start + len(word)
            if not (text[end : end + 1].isalnum() or (start and text[start - 1].isalnum())):
                return True
        return False

    @cached_property
    def _words(self) -> list[list[str]]:
        return list(map(words, self.passages))

    @cached_property
    def _read(self) -> list[Words]:
        return list(map(Words, self._words))

    @cached_property
    def word_counts(self) -> Counter[str]:
        return Counter(chain.from_iterable(self._words))

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset([each for said in self._read for each in said.stems])

    @cached_property
    def bigrams(self) -> frozenset[tuple[str, str]]:
        return frozenset(chain.from_iterable([pairwise(said.stems) for said in self._read]))

    @cached_property
    def idf(self) -> dict[str, float]:
        """Smoothed inverse document frequency over the passages: ``log((1 + n) / (1 + df)) + 1``, by content stem."""
        count = len(self.passages)
        weight = [log((1 + count) / (1 + frequency)) + 1 for frequency in range(count + 1)]
        held = [set(map(stem, set(said) - STOP_WORDS)) for said in self._words]
        if count == 1:
            return dict.fromkeys(held[0], weight[1])
        return {each: weight[frequency] for each, frequency in Counter(chain.from_iterable(held)).items()}

    @cached_property
    def _idf_of_absent(self) -> float:
        return log(1 + len(self.passages)) + 1

    def weight(self, stem: str) -> float:
        """IDF of a stem; one that no passage holds weighs most."""
        return self.idf.get(stem, self._idf_of_absent)

    @cached_property
    def _windows(self) -> tuple[dict[str, set[int]], int]:
        """By content stem, the windows of two consecutive sentences that hold it; and a bound on their numbers."""
        holding: dict[str, set[int]] = {each: set() for each in self.idf}
        end = 0
        for passage in self.passages:
            for sentence in sentences(passage):
                both = (end, end + 1)  # window i holds sentences i - 1 and i
                for each in content_stems(sentence):
                    holding[each].update(both)
                end += 1
            end += 1
        return holding, end + 1

    @cached_property
    def _running(self) -> str:
        return "|".join([f" {' '.join(said)} " for said in self._words])

    @cached_property
    def numbers(self) -> frozenset[str]:
        return supported_numbers("\n".join(self.passages), self.word_counts)

    def k_precision(self, answer: str) -> float | None:
        """Share of the answer's words that the context holds, each at most as often as the context does."""
        said, held = read(answer).words, self.word_counts
        return _share(sum([min(count, held[word]) for word, count in Counter(said).items()]), len(said))

    def content_coverage(self, answer: str) -> float | None:
        """Share of the answer's content stems that the context holds."""
        said = read(answer)
        if said.content and all(word in STOP_WORDS or self._has(word) for word in said.words):
            return 1.0  # most answers; then no word of the context need be stemmed
        return _share(sum(map(self.idf.__contains__, said.content)), len(said.content))

    def bigram_coverage(self, answer: str) -> float | None:
        """Share of the answer's pairs of stems, stop words kept, that the context holds; of one word, its stem."""
        stems = read(answer).stems
        if len(stems) == 1:
            return float(stems[0] in self.stems)
        return _share(sum(map(self.bigrams.__contains__, pairwise(stems))), len(stems) - 1)

    def idf_coverage(self, answer: str) -> float | None:
        """IDF mass of the answer's content stems that the context holds, over the mass of all of them."""
        held, total = self._masses(answer)
        return _share(held, total)

    def most_coverage(self, answer: str) -> float:
        """At least `idf_coverage`, told without reading the context's words: 0 for an answer of no content.

        A word with a given stem begins like the stem, but for the stem's last two letters at most (Porter's suffix
        rules put in "e", "i", "le" and the like); and no stem weighs more than an absent one.
        """
        content = read(answer).content
        return sum(stem[: max(1, len(stem) - 2)] in self._folded for stem in content) / max(1, len(content))

    def best_window_idf_coverage(self, answer: str) -> float | None:
        """The same for those two consecutive sentences of one passage that cover the answer best."""
        idf, (holding, end) = self.idf, self._windows
        masses = [0.0] * end
        for each in read(answer).content:
            if each in idf:
                weight = idf[each]
                for window in holding[each]:
                    masses[window] += weight
        return _share(max(masses), self._masses(answer)[1])

    def copied(self, answer: str, run: int) -> float | None:
        """Share of the answer's words in runs of at least `run` words that stand so in a passage."""
        said = read(answer).words
        if len(said) < run:
            return None
        held = self._running
        covered = copied = 0  # words before `covered` are counted
        for start in range(len(said) - run + 1):
            if f" {' '.join(said[start : start + run])} " in held:
                copied += start + run - max(start, covered)
                covered = start + run
        return copied / len(said)

    def unsupported_numbers(self, answer: str) -> list[str]:
        """Numbers in the answer that the context states neither in digits nor in words."""
        return [number for number in numbers(answer) if not self._states(number)]

    def _states(self, number: str) -> bool:
        """Whether the context states a number; one that stands there as it is needs no reading of all the others."""
        return any(stands(number, passage) for passage in self.passages) or number in self.numbers

    def unsupported_entities(self, answer: str, query: str = "") -> list[str]:
        """Names in the answer of which some word stands neither in the context nor in the query."""
        return [name for name in entities(answer) if any(self._is_new(word, query) for word in words(name))]

    def _is_new(self, word: str, query: str) -> bool:
        if word in STOP_WORDS or self._has(word):
            return False
        each = stem(word)
        return each not in self.stems and each not in read(query).stems

    def _masses(self, answer: str) -> tuple[float, float]:
        """IDF mass of the answer's content stems: of those that the context holds, and of all."""
        content, idf = read(answer).content, self.idf
        weights = [idf[each] for each in content if each in idf]
        held = sum(weights)
        return held, held + (len(content) - len(weights)) * self._idf_of_absent


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
