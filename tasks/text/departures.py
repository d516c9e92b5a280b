"""Where a text that repeats another departs from it: another name or number in a place, a "not" more or less."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from tasks.text.cached import cached_property, pattern
from tasks.text.language import ENGLISH, language
from tasks.text.tokens import entities, negations, stem, stop_words, words
from tasks.text.values import aligned, alternatives, listing

_TOKEN = pattern(r"[^\W_]+(?:[.,:/'’-]+[^\W_]+)*")
_SHORT_NOT = pattern(r"(?i)n['’ʼ´`]t$")
SHORT = 4  # words that may stand in another's place
BESIDE = 2  # content words that both texts have beside such a place


class _Token(NamedTuple):
    text: str
    word: str  # case-folded
    key: str  # its stem, by which two are the same
    content: bool


class _Place(NamedTuple):
    """What the other text has in a place, and what this one has."""

    wanted: Sequence[_Token]
    said: Sequence[_Token]
    beside: int  # content words that both have directly before it and behind


def departs(text: str, other: str, asked: str, context: str, code: str = ENGLISH) -> bool:
    """Whether a text has another name or number where `other` has one, in words that are otherwise the same there.

    Or two have changed places, a negation is put in or left out, or another is added ("or", "and"). Names are known by
    their capitals; one that stands in what is `asked`, or that differs by its ending, is none other. The `context`
    tells whether the first word of a sentence is a name. Blind to what is said in quite other words.
    """
    affirmed = language(code).claims.affirmed
    text, other = (affirmed.sub(" ", each) for each in (aligned(text, other, code), other))
    said, wanted = _tokens(text, code), _tokens(other, code)
    known = {each.key for each in (*wanted, *_tokens(asked, code))}
    some, names = negations(code), _Names((text, other), context, code)
    for place in _places(wanted, said):
        if _denies(place.wanted, some) != _denies(place.said, some):
            if len(place.wanted) + len(place.said) < SHORT and place.beside >= BESIDE:
                return True
        elif place.beside and not place.wanted and place.said[0].word in listing(code):
            more = [each for each in place.said[1:] if each.content and each.key not in known]
            if more and (place.said[0].word in alternatives(code) or names.is_item(more[0], place.said)):
                return True
        elif max(len(place.wanted), len(place.said)) <= SHORT and place.beside >= BESIDE:
            theirs, mine = (list(filter(names.has, side)) for side in (place.wanted, place.said))
            others = theirs and not any(_alike(one, each) for one in mine for each in theirs)
            if others and any(each.key not in known for each in mine):
                return True
            if not (theirs or mine) and names.are_others(place, known):
                return True
    return _swapped(wanted, said, names)


def _swapped(wanted: Sequence[_Token], said: Sequence[_Token], names: "_Names") -> bool:
    """Whether two names or numbers have changed places: each stands between the words that the other stood between."""
    theirs, mine = (_slots(side, names) for side in (wanted, said))
    moved = [each for each, slots in mine.items() if each in theirs and not slots & theirs[each]]
    return any(
        not (mine[one].isdisjoint(theirs[other]) or mine[other].isdisjoint(theirs[one]))
        and not names.are_items(wanted, (one, other))
        for one, other in combinations(moved, 2)
    )


def _slots(tokens: Sequence[_Token], names: "_Names") -> dict[str, set[tuple[str, ...]]]:
    """The two words before each name or number and the two behind, names as "*"."""
    named = list(map(names.has, tokens))
    keys = ["", "", *["*" if its else each.key for each, its in zip(tokens, named, strict=True)], "", ""]
    found: dict[str, set[tuple[str, ...]]] = {}
    for at in [at for at, its in enumerate(named) if its]:
        found.setdefault(tokens[at].key, set()).add((*keys[at : at + 2], *keys[at + 3 : at + 5]))
    return found


class _Names:
    """The names and numbers of two texts."""

    def __init__(self, texts: Sequence[str], context: str, code: str) -> None:
        self.context, self.code = context, code
        self.words = {word for text in texts for name in entities(text, code) for word in words(name, code)}

    @cached_property
    def spaced(self) -> str:
        """The words of the context."""
        return f" {' '.join(words(self.context, self.code))} "

    def has(self, token: _Token) -> bool:
        if any(map(str.isdigit, token.text)):
            return True
        if not (token.content and token.text[0].isupper()):
            return False
        if not self.words.isdisjoint(words(token.text, self.code)):
            return True
        return not language(self.code).nouns_capitalised and f" {token.text.lower()}" not in self.context

    def are_others(self, place: _Place, known: set[str]) -> bool:
        """Whether other words of the context stand in the place of words: blue for red, not large for big."""
        theirs, mine = ([each for each in side if each.content] for side in (place.wanted, place.said))
        return bool(theirs and mine) and all(
            each.key not in known and f" {each.word} " in self.spaced and len(each.word) > 2 for each in mine
        )

    def is_item(self, token: _Token, said: Sequence[_Token]) -> bool:
        """Whether a token is the next item of a list; a number with something behind it may be of another kind."""
        return token is said[1] and self.has(token) and (not token.text[0].isdigit() or len(said) == 2)

    def are_items(self, tokens: Sequence[_Token], pair: tuple[str, str]) -> bool:
        """Whether two names stand in one list, so that their order says nothing."""
        keys = [each.key for each in tokens]
        first, second = sorted(map(keys.index, pair))
        between = [each for each in tokens[first + 1 : second] if each.word not in listing(self.code)]
        return all(map(self.has, between))


def _tokens(text: str, code: str) -> list[_Token]:
    passed, found = stop_words(code), []
    for match in _TOKEN.finditer(text):
        word = match.group().casefold().removesuffix("'s").removesuffix("’s")
        found.append(_Token(match.group(), word, stem(word, code), word not in passed))
    return found


def _places(wanted: Sequence[_Token], said: Sequence[_Token]) -> Iterator[_Place]:
    """The places where two texts differ, in order. Of one that goes on behind the other's end, as much as that has."""
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    keys = [[numbers.setdefault(each.key, len(numbers)) for each in side] for side in (wanted, said)]
    a = b = before = 0
    for start, other, size in LCSseq.editops(*keys).as_matching_blocks():
        behind = sum([each.content for each in wanted[start : start + size]])
        if start > a or other > b:
            end = other if size or len(said) - b <= SHORT else b + max(start - a, 1)
            yield _Place(wanted[a:start], said[b:end], before + behind)
        a, b, before = start + size, other + size, behind


def _denies(tokens: Sequence[_Token], some: frozenset[str]) -> bool:
    """Whether an odd number of words negates."""
    return bool(sum([each.word in some or _SHORT_NOT.search(each.text) is not None for each in tokens]) % 2)


def _alike(one: _Token, other: _Token) -> bool:
    """Whether two names differ by their endings, or one is the other's initials: ``Mexico`` and ``Mexican``, ``J.``."""
    short, long = sorted((one.key, other.key), key=len)
    if any(map(str.isdigit, short + long)):
        return short == long
    shared = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return shared >= max(4, len(short) - 1) or (len(short) <= 2 and long.startswith(short[:1]))
