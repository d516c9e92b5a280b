"""Where a text that repeats another departs from it: another name or number in a place, a "not" more or less."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from tasks.text.cached import cached_property
from tasks.text.language import ENGLISH, language
from tasks.text.reading import Reading, read
from tasks.text.tokens import entities, negations, words
from tasks.text.values import aligned, alternatives, listing

SHORT = 4  # words that may stand in another's place
BESIDE = 2  # content words that both texts have beside such a place


class _Place(NamedTuple):
    """Which words the other text has in a place, and which this one has, by their numbers."""

    wanted: range
    said: range
    beside: int  # content words that both have directly before it and behind


def departs(text: str, other: str, asked: str, context: str, code: str = ENGLISH) -> bool:
    """Whether a text has another name or number where `other` has one, in words that are otherwise the same there.

    Or two have changed places, a negation is put in or left out, or another is added ("or", "and"). Names are known by
    their capitals; one that stands in what is `asked`, or that differs by its ending, is none other. The `context`
    tells whether the first word of a sentence is a name. Blind to what is said in quite other words.
    """
    affirmed = language(code).claims.affirmed
    return _Pair(
        affirmed.sub(" ", aligned(text, other, code)), affirmed.sub(" ", other), asked, context, code
    ).departs()


class _Pair:
    """A text and the other one that it may repeat."""

    def __init__(self, text: str, other: str, asked: str, context: str, code: str) -> None:
        self.text, self.other, self.context, self.code = text, other, context, code
        self.said, self.wanted = read(text, code), read(other, code)
        self.known = frozenset([*self.wanted.stems, *read(asked, code).stems])
        self.negations = negations(code)
        self.names: dict[str, bool] = {}

    def departs(self) -> bool:
        said, wanted = self.said, self.wanted
        for place in self.places():
            if self.negated(wanted, place.wanted) != self.negated(said, place.said):
                if len(place.wanted) + len(place.said) < SHORT and place.beside >= BESIDE:
                    return True
            elif place.beside and not place.wanted and (joint := said.words[place.said[0]]) in listing(self.code):
                more = [at for at in place.said[1:] if self.is_new(at)]
                if more and (joint in alternatives(self.code) or self.is_item(more[0], place.said)):
                    return True
            elif max(len(place.wanted), len(place.said)) <= SHORT and place.beside >= BESIDE and self.replaced(place):
                return True
        return self.swapped()

    def places(self) -> Iterator[_Place]:
        """The places where the texts differ, in order; of what goes on behind the other's end, as much as that has."""
        from rapidfuzz.distance import LCSseq

        wanted, said = self.wanted, self.said
        a = b = before = 0
        for start, other, size in LCSseq.editops(wanted.stems, said.stems).as_matching_blocks():
            behind = sum(map(bool, wanted.kept[start : start + size]))
            if start > a or other > b:
                end = other if size or len(said.words) - b <= SHORT else b + max(start - a, 1)
                yield _Place(range(a, start), range(b, end), before + behind)
            a, b, before = start + size, other + size, behind

    def negated(self, reading: Reading, place: range) -> bool:
        """Whether an odd number of words negates; the "t" of "isn't" does."""
        some = [at for at in place if reading.words[at] in self.negations]
        return bool(sum([reading.words[at] != "t" or reading.words[at - 1][-1] == "n" for at in some]) % 2)

    def is_new(self, at: int) -> bool:
        return bool(self.said.kept[at]) and self.said.stems[at] not in self.known

    def replaced(self, place: _Place) -> bool:
        """Whether another name or number stands in a place, or for words of the context others of its words."""
        theirs = [at for at in place.wanted if self.is_name(self.wanted.words[at])]
        mine = [at for at in place.said if self.is_name(self.said.words[at])]
        if theirs and mine:
            stems = [(self.said.stems[at], self.wanted.stems[its]) for at in mine for its in theirs]
            return any(map(self.is_new, mine)) and not any(_alike(*pair) for pair in stems)
        others = [at for at in place.said if self.said.kept[at]]
        if theirs or mine or not others or not any(self.wanted.kept[at] for at in place.wanted):
            return False
        return all(self.is_new(at) and f" {self.said.words[at]} " in self.spaced for at in others)  # blue, not large

    def is_item(self, at: int, place: range) -> bool:
        """Whether a word is the next item of a list; a number with something behind it may be of another kind."""
        word = self.said.words[at]
        return at == place[1] and self.is_name(word) and (not word[0].isdigit() or len(place) == 2)

    def is_name(self, word: str) -> bool:
        found = self.names.get(word)
        if found is None:
            self.names[word] = found = any(map(str.isdigit, word)) or word in self.named or word in self.opening
        return found

    @cached_property
    def named(self) -> frozenset[str]:
        return frozenset(
            word
            for text in (self.text, self.other)
            for name in entities(text, self.code)
            for word in words(name, self.code)
        )

    @cached_property
    def opening(self) -> frozenset[str]:
        """Words with a capital that the context has with one only."""
        if language(self.code).nouns_capitalised:
            return frozenset()
        found = {
            each.strip(".,;:!?()\"'") for text in (self.text, self.other) for each in text.split() if each[0].isupper()
        }
        passed = language(self.code).stop_words
        return frozenset(
            word
            for each in found
            if f" {each.lower()}" not in self.context
            for word in words(each, self.code)
            if word not in passed
        )

    @cached_property
    def spaced(self) -> str:
        """The words of the context."""
        return f" {' '.join(words(self.context, self.code))} "

    def swapped(self) -> bool:
        """Whether two names or numbers have changed places: each stands between the words of the other."""
        if self.said.held.isdisjoint(self.wanted.held):
            return False
        theirs, mine = self.slots(self.wanted), self.slots(self.said)
        moved = [each for each, slots in mine.items() if each in theirs and not slots & theirs[each]]
        return any(
            not (mine[one].isdisjoint(theirs[other]) or mine[other].isdisjoint(theirs[one]))
            and not self.are_items(one, other)
            for one, other in combinations(moved, 2)
        )

    def slots(self, reading: Reading) -> dict[str, set[tuple[str, ...]]]:
        """The two words before each name or number and the two behind, names as "*"."""
        named = list(map(self.is_name, reading.words))
        keys = ["", "", *["*" if its else each for each, its in zip(reading.stems, named, strict=True)], "", ""]
        found: dict[str, set[tuple[str, ...]]] = {}
        for at in [at for at, its in enumerate(named) if its]:
            found.setdefault(reading.words[at], set()).add((*keys[at : at + 2], *keys[at + 3 : at + 5]))
        return found

    def are_items(self, one: str, other: str) -> bool:
        """Whether two names stand in one list, so that their order says nothing."""
        first, second = sorted(map(self.wanted.words.index, (one, other)))
        between = [each for each in self.wanted.words[first + 1 : second] if each not in listing(self.code)]
        return all(map(self.is_name, between))


def _alike(one: str, other: str) -> bool:
    """Whether two names differ by their endings, or one is the other's initial: ``Mexico`` and ``Mexican``, ``J.``."""
    short, long = sorted((one, other), key=len)
    if any(map(str.isdigit, short + long)):
        return short == long
    shared = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return shared >= max(4, len(short) - 1) or (len(short) <= 2 and long.startswith(short[:1]))
