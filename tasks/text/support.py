"""What a context says, read once, so that many measures of an answer can ask it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from math import log

from tasks.text.cached import cached_property, pattern
from tasks.text.detect import is_foreign, may_be_foreign
from tasks.text.language import ENGLISH, language
from tasks.text.quantities import numbers, numerals, stands, supported_numbers, without_markers
from tasks.text.reading import Passage, passage, readings
from tasks.text.tokens import (
    UNSPACED,
    content,
    content_among,
    entities,
    fold,
    negations,
    sentences,
    stem,
    stop_stems,
    stop_words,
    words,
)
from tasks.text.values import Value, bound_at, identifiers, multiplies, read_values, stated

CLAUSE = pattern(r"[,;:–—]|\b(?:but|although|though|while|whereas|because|which|and|aber|und|mais|et|pero|y)\b")

_BEFORE = frozenset("-−–.,:/$€£¥")  # what changes a number that it stands before
_AFTER = frozenset((" m", " b", " t"))  # perhaps a million
_SPELLED = pattern(r"[^\s\d]*\d\S*(?:(?<![.,;:!?])[^\S\n]+[^\s\d]+)?")  # a number with what belongs to it
_CODE = pattern(r"-\d")  # HR-165
_UNSPACED = pattern(f"[{UNSPACED}]")
_UNIT_MARK = pattern(r"\s?[%‰]")


class ContextView:
    """The passages of one row, read for support of an answer.

    Coverages are shares from 0 to 1, or None where the answer has nothing to measure: no word, or for the
    measures of content no word beside stop words. They see what is absent from the context. They do not see a
    number or name that was swapped for another one of the same context, nor negation.
    """

    def __init__(self, passages: Sequence[str], code: str = ENGLISH) -> None:
        self.passages = tuple(passages)
        self.code = code  # ISO 639-1, of the language of the passages and of what is asked about them
        self.read = readings(code).__getitem__  # a text in the language of the passages
        self._windows: dict[str, list[int]] = {}  # what was asked for: see `_look_up`
        self._weights: dict[str, float] = {}
        self._pairs: dict[tuple[str, str], bool] = {}

    def expect(self, *texts: str) -> None:
        """Look up the content stems of these texts, or parts of them, in one go, which is faster than bit by bit."""
        read = [self.read(text) for text in texts]
        self._look_up(chain.from_iterable([each.weighed for each in read]))
        self.pairs_held([pair for each in read for pair in pairwise(each.stems)])

    def is_foreign(self, answer: str) -> bool:
        """Whether an answer is in another language than the passages, so that comparing their words says nothing."""
        if not may_be_foreign(answer, self.code):
            return False
        return (self.content_coverage(answer) or 0) < 0.5 and is_foreign(answer, self.code)

    @cached_property
    def text(self) -> str:
        return "\n".join(self.passages)

    @cached_property
    def _folded(self) -> str:
        """All passages in the case of `words`, to look for single words in."""
        text = self.text
        return text.lower() if text.isascii() and self.code == ENGLISH else fold(text, self.code)

    def _has(self, word: str) -> bool:
        """Whether the word, as it is, is one of the context's: half a microsecond, where reading them all takes 80."""
        text, start = self._folded, -1
        while (start := text.find(word, start + 1)) >= 0:
            end = start + len(word)
            if not (text[end : end + 1].isalnum() or (start and text[start - 1].isalnum())):
                return True
        return False

    @cached_property
    def _passages(self) -> list[Passage]:
        return [passage(text, self.code) for text in self.passages]

    @cached_property
    def _words(self) -> list[list[list[str]]]:
        """The words of each sentence of each passage."""
        return [each.words_by_sentence for each in self._passages]

    @cached_property
    def _said(self) -> frozenset[str]:
        """Every word once."""
        return frozenset(chain.from_iterable(chain.from_iterable(self._words)))

    @cached_property
    def _stems(self) -> list[list[list[str]]]:
        """The stems of these words."""
        return [each.stems_by_sentence for each in self._passages]

    @cached_property
    def word_counts(self) -> Counter[str]:
        return Counter(word for passage in self._words for said in passage for word in said)

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(chain.from_iterable(self._stems)))

    def pairs_held(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """For each pair of stems whether a passage holds them one behind the other."""
        if new := set(pairs).difference(self._pairs):
            held: set[tuple[str, str]] = set()
            for each in self._passages:
                held |= new.intersection(pairwise(each.stems))
            self._pairs |= dict.fromkeys(new, False) | dict.fromkeys(held, True)
        return list(map(self._pairs.__getitem__, pairs))

    def _look_up(self, wanted: Iterable[str]) -> None:
        """Note the windows that hold these content stems; no other stem of the context is looked at.

        A window is two consecutive sentences of a passage, or its first or last one: sentence i of all is in windows
        i and i + 1, and each passage begins a new window.
        """
        new = frozenset(wanted).difference(self._windows)
        if not new:
            return
        doubtful = new & stop_stems(self.code)  # perhaps only a stop word's
        windows: dict[str, list[int]] = {each: [] for each in new}
        frequency = dict.fromkeys(new, 0)  # passages that hold it
        window = 0
        for its in self._passages:
            first = window
            for said, its_stems in zip(its.words_by_sentence, its.stems_by_sentence, strict=True):
                found = new.intersection(its_stems)
                if doubtful and not found.isdisjoint(doubtful):
                    found = content_among(new, said, self.code)
                for each in found:
                    held = windows[each]
                    if not held or held[-1] < first:
                        frequency[each] += 1
                    if held and held[-1] == window:
                        held.append(window + 1)
                    else:
                        held += (window, window + 1)
                window += 1
            window += 1
        self._windows |= windows
        self._weights |= {each: self._idf_by_frequency[count] for each, count in frequency.items()}

    @cached_property
    def _idf_by_frequency(self) -> list[float]:
        return _idf(len(self.passages))

    def weight(self, stem: str) -> float:
        """IDF of a content stem; one that no passage holds weighs most."""
        if stem not in self._weights:
            self._look_up([stem])
        return self._weights[stem]

    @cached_property
    def _running(self) -> str:
        return "|".join([f" {' '.join(chain.from_iterable(passage))} " for passage in self._words])

    @cached_property
    def numbers(self) -> frozenset[str]:
        return supported_numbers(self.text, self._said)

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """The values that the context states."""
        return read_values(self.text, self.code)

    def clauses(self, wanted: set[str], least: float) -> Iterator[tuple[set[str], list[tuple[str, frozenset[str]]]]]:
        """Of each sentence that holds this share of some stems: its clauses and, last, the whole, with their stems.

        Before them the stems that are asked of the sentence: not those that only one before it in the passage holds,
        which it may speak of without a name.
        """
        for text, stemmed in zip(self.passages, self._stems, strict=True):
            near: list[tuple[int, set[str]]] = []
            before: set[str] = set()
            for at, said in enumerate(stemmed):
                held = wanted.intersection(said)
                asked = wanted - (before - held)
                if len(held) > 1 and len(held) >= least * len(asked):
                    near.append((at, asked))
                before |= held
            texts = sentences(text, self.code) if near else []
            for at, asked in near if len(texts) == len(stemmed) else ():
                parts = [*filter(str.strip, CLAUSE.split(texts[at])), texts[at]]
                yield asked, [(part, frozenset(content(words(part, self.code), self.code))) for part in parts]

    def says(self, claim: str, value: Value) -> bool:
        """Whether a value surely stands in the passages as a claim spells it; False means "look closer"."""
        text, spelled = self.text, claim[value.start : value.end]
        at = text.find(spelled)
        while at >= 0:
            end = at + len(spelled)
            before, after = text[max(0, at - 2) : at], text[end : end + 2]
            if not (before[-1:].isalnum() or before[-1:] in _BEFORE or after[:1].isalnum()):
                joined = after[:1] in (".", ",", ":") and after[1:].isdigit()
                joined = joined or (after in _AFTER and multiplies(text, end, self.code))
                if not joined and (value.unit or not _UNIT_MARK.match(text, end)):
                    bound = bound_at(text, at, end, self.code) if value.bound else ""
                    if bound[:1] in ("", value.bound[:1]):
                        return True
            at = text.find(spelled, at + 1)
        return False

    @cached_property
    def sentence_stems(self) -> list[frozenset[str]]:
        return [frozenset(said) for passage in self._stems for said in passage]

    def rewords(self, word: str) -> bool:
        """Whether a word mostly only rewords, or the context has another form of it, by its first five letters."""
        known = language(self.code).claims
        return bool(known.rewording.search(word)) or word in known.sums or (len(word) > 5 and self._begins(word[:5]))

    def _begins(self, start: str) -> bool:
        """Whether a word of the context begins so."""
        text, at = self._folded, self._folded.find(start)
        while at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_"):
            at = text.find(start, at + 1)
        return at >= 0

    def most_together(self, some: set[str]) -> int:
        """How many of these content stems two consecutive sentences of a passage have at most."""
        self._look_up(some)
        return max(Counter(chain.from_iterable([self._windows[each] for each in some])).values(), default=0)

    @cached_property
    def negated_stems(self) -> list[frozenset[str]]:
        """The stems of each sentence in which a word negates."""
        some = negations(self.code)
        if some.isdisjoint(self._said):
            return []
        held = zip(chain.from_iterable(self._words), self.sentence_stems, strict=True)
        return [its for said, its in held if not some.isdisjoint(said)]

    def is_of_one_passage(self, stems: frozenset[str]) -> bool:
        """Whether one passage holds all these stems, or there is but one."""
        return len(self.passages) < 2 or any([not stems.difference(each.stems) for each in self._passages])

    @cached_property
    def passage_stems(self) -> list[frozenset[str]]:
        return [frozenset(chain.from_iterable(said)) for said in self._stems]

    def capitalises(self, claim: str) -> bool:
        """Whether the first word of a claim has a capital in the context wherever it stands."""
        word = claim.split(None, 1)[0].strip(",.;:'\"")
        return word[:1].isupper() and word in self.text and f" {word.lower()}" not in self.text

    @cached_property
    def rows(self) -> list[list[str]]:
        """The cells of the rows of the tables in the context, in Markdown or HTML."""
        text = self.text
        if "|" not in text and "<tr" not in text:
            return []
        lines = [line for line in text.split("\n") if line.count("|") > 1]
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
        for row in re.findall(r"(?is)<tr.*?</tr>", text):
            cells.append([re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"(?is)<t[dh].*?</t[dh]>", row)])
        return [each for each in cells if len(each) > 1]

    def quotes(self, said: str, speaker: str) -> bool:
        """Whether a sentence stands so in the passages; one in the first person if it is too long for chance."""
        its = self.read(said).words
        if len(its) > 4:
            return all(map(self._folded.__contains__, its)) and f" {' '.join(its)} " in self._running
        return speaker not in its and self._has(said.strip(" .!"))

    def k_precision(self, answer: str) -> float | None:
        """Share of the answer's words that the context holds, each at most as often as the context does."""
        said, held = self.read(answer).words, self.word_counts
        return _share(sum([min(count, held[word]) for word, count in Counter(said).items()]), len(said))

    def content_coverage(self, answer: str) -> float | None:
        """Share of the answer's content stems that the context holds."""
        said, passed = self.read(answer), stop_words(self.code)
        if said.content and all(word in passed or self._has(word) for word in said.words):
            return 1.0  # most answers; then no word of the context need be stemmed
        self._look_up(said.content)
        return _share(sum([1 for each in said.content if self._windows[each]]), len(said.content))

    def bigram_coverage(self, answer: str) -> float | None:
        """Share of the answer's pairs of stems, stop words kept, that the context holds; of one word, its stem."""
        stems = self.read(answer).stems
        if len(stems) == 1:
            return float(stems[0] in self.stems)
        return _share(sum(self.pairs_held(list(pairwise(stems)))), len(stems) - 1)

    def idf_coverage(self, answer: str) -> float | None:
        """IDF mass of the answer's content stems that the context holds, over the mass of all of them."""
        return self.idf_coverages(answer)[0]

    def most_coverage(self, answer: str) -> float:
        """At least `idf_coverage`, found without reading the context's words: 0 for an answer of no content.

        A word with a given stem begins like the stem, but for the stem's last two letters at most (Porter's suffix
        rules put in "e", "i", "le" and the like); and no stem weighs more than an absent one. Others change more.
        """
        if self.code != ENGLISH:
            return 1.0
        content = self.read(answer).content
        return sum(stem[: max(1, len(stem) - 2)] in self._folded for stem in content) / max(1, len(content))

    def best_window_idf_coverage(self, answer: str) -> float | None:
        """The same for those two consecutive sentences of one passage that cover the answer best."""
        return self.idf_coverages(answer)[1]

    def idf_coverages(self, answer: str) -> tuple[float | None, float | None]:
        """IDF coverage by the whole context and by the best window, the mass of all the content stems taken once."""
        content = self.read(answer).weighed
        if not all(map(self._windows.__contains__, content)):
            self._look_up(content)
        windows = [0.0] * (sum(map(len, self._words)) + len(self._words))
        held, absent = 0.0, 0
        for each in content:
            places = self._windows[each]
            if not places:
                absent += 1
                continue
            weight = self._weights[each]
            held += weight
            for window in places:
                windows[window] += weight
        total = held + absent * self._idf_by_frequency[0]
        return _share(held, total), _share(max(windows, default=0.0), total)

    def copied(self, answer: str, run: int) -> float | None:
        """Share of the answer's words in runs of at least `run` words that stand so in a passage."""
        said = self.read(answer)
        if len(said.words) < run:
            return None
        pairs = self.pairs_held(list(pairwise(said.stems)))
        covered = copied = 0  # words before `covered` are counted
        for held in re.finditer(b"\1{%d,}" % (run - 1), bytes(pairs)):  # only there need the words be looked up
            for start in range(held.start(), held.end() - run + 2):
                if f" {' '.join(said.words[start : start + run])} " in self._running:
                    copied += start + run - max(start, covered)
                    covered = start + run
        return copied / len(said.words)

    def unsupported_numbers(self, answer: str) -> list[str]:
        """Numbers in the answer that the context states neither in digits nor in words."""
        if self.code == ENGLISH:
            return [number for number in numbers(answer) if not self._states(number)]
        named = identifiers(answer, self.code)
        return self.absent_values(answer) + [each for each in named if _CODE.search(each) and each not in self.text]

    def absent_values(self, answer: str) -> list[str]:
        """The same by value: numbers, quantities, dates and times in digits that the context states in no notation."""
        text = without_markers(answer)
        said = [each for each in read_values(text, self.code) if each.kind != "name" and not each.spelled]
        return [text[each.start : each.end] for each in said if not self._holds(text, each)]

    def without_stated(self, text: str) -> str:
        """A text without the values in digits that the context states in a notation that is no word of it."""
        for each in reversed(read_values(text, self.code)):
            name = text[each.start : each.end]
            if self._holds(text, each) or (each.kind == "name" and name in self.text):
                text = f"{text[: each.start]} {text[each.end :]}" if not self._has(fold(name, self.code)) else text
        return text

    def spells(self, answer: str) -> bool:
        """Whether each number of the answer, with the word behind it, surely stands in the passages as it is spelt."""
        pieces = [each.rstrip(" .,;:!?") for each in _SPELLED.findall(answer)]
        return all(stands_in(f" {each}", self._spaced) for each in pieces)

    @cached_property
    def _spaced(self) -> str:
        return f" {self.text}".replace("\n", " ")

    def _holds(self, text: str, value: Value) -> bool:
        """Whether the context states a value in any notation of its language, in words too; of a range, both ends."""
        if self.says(text, value) or stated(value, self.values):
            return True
        if value.kind != "number":
            return False
        if value.low != value.high:
            ends = [value._replace(low=each, high=each) for each in (value.low, value.high)]
            return all(stated(each, self.values) for each in ends)
        if not value.unit and value.low % 1 == 0 and any(each in self.text for each in numerals(int(value.low))):
            return True
        if 10 <= value.low < 100 and (text[value.start - 1 : value.start] in "'’" or text[value.end - 1] == "s"):
            years = [each.words[0] if each.kind == "date" else each.low for each in self.values]  # '21, the 90s
            return any(1000 < year < 2100 and year % 100 == value.low for year in years)
        known = language(self.code).numbers.all
        return not value.unit and any(known[each] == value.low for each in self._said & known.keys())

    def _states(self, number: str) -> bool:
        """Whether the context states a number; one that stands there as it is needs no reading of all the others."""
        if stands(number, self.text) or (
            len(number) > 3 and number.isdecimal() and stands(f"{int(number):,}", self.text)
        ):
            return True
        if len(number) > 2 and number.isdecimal() and number not in self._folded.replace(",", ""):
            return False  # none of the numbers in words is as long
        return number in self.numbers

    def unsupported_entities(self, answer: str, query: str = "") -> list[str]:
        """Names in the answer of which some word stands neither in the context nor in the query."""
        return [
            name
            for name in entities(answer, self.code)
            if any(self._is_new(word, query) for word in words(name, self.code))
        ]

    def _is_new(self, word: str, query: str) -> bool:
        if word in stop_words(self.code) or self._has(word):
            return False
        each = stem(word, self.code)
        return each not in self.stems and each not in self.read(query).stems


def stands_in(piece: str, text: str) -> bool:
    """Whether a piece of text, or what begins with a blank, stands in a text and no letter or digit behind it.

    A letter of a script without spaces may: ``Internet2是``.
    """
    end = -1
    while (at := text.find(piece, end + 1)) >= 0:
        end = at + len(piece)
        behind = text[end : end + 2]
        joined = behind[:1].isalnum() and not _UNSPACED.match(behind)
        if not joined and not (behind[:1] in ".,:" and behind[1:].isdigit()):
            return True
    return False


@lru_cache
def _idf(count: int) -> list[float]:
    """Smoothed inverse document frequency over so many passages: ``log((1 + n) / (1 + df)) + 1``, by df."""
    return [log((1 + count) / (1 + frequency)) + 1 for frequency in range(count + 1)]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
