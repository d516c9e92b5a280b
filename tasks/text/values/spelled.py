"""Numbers in words, with their units: ``two hundred and five litres``, ``an hour and a half``."""

import re
from collections.abc import Iterable, Iterator

from tasks.text.cached import pattern
from tasks.text.values.units import bound_of, unit_at
from tasks.text.values.value import ALPHABETIC, Notation, Value

REACH = 60  # characters around a number word in which more of the number may stand
_AND_A_HALF = pattern(r"\s+and\s+(?:a\s+)?(half|quarter)\b")
_OF_A = pattern(r"\s+(?:of\s+)?(?:an?\s+)?")


def read_spelled(text: str, said: Iterable[str], known: Notation) -> Iterator[Value]:
    """The numbers in words of a text that has these number words, in order."""
    halves = any(map(text.casefold().__contains__, known.halves))
    opening = known.articles.union(known.halves) if halves else frozenset()
    for start, end in _windows(text, said, REACH if opening else 0):
        yield from _read(text, list(ALPHABETIC.finditer(text, start, end)), known, opening)


def _windows(text: str, said: Iterable[str], before: int) -> list[tuple[int, int]]:
    """The parts of a text from so many characters before these words, cut at blanks; no others need be looked at."""
    if not text.isascii():  # case folding may change its length
        return [(0, len(text))]
    lowered, places = text.lower(), []
    for word in said:
        at = lowered.find(word)
        while at >= 0:
            end = at + len(word)
            if not (lowered[end : end + 1].isalpha() or (at and lowered[at - 1].isalpha())):
                places.append(at)
            at = lowered.find(word, at + 1)
    windows: list[tuple[int, int]] = []
    for at in sorted(places):
        start, end = lowered.rfind(" ", 0, max(0, at - before)) + 1, lowered.find(" ", at + REACH)
        if windows and start <= windows[-1][1]:
            start = windows.pop()[0]
        windows.append((start, end if end >= 0 else len(text)))
    return windows


def _read(text: str, tokens: list[re.Match[str]], known: Notation, opening: frozenset[str]) -> Iterator[Value]:
    """The numbers of some tokens; `opening`: words that a half or quarter may begin with."""
    numbers, at = known.numbers, 0
    said = [token.group().casefold() for token in tokens]
    while at < len(tokens):
        word = said[at]
        half = _halves(text, tokens, at, known) if word in opening else None
        if half:
            yield half
            at = next((i for i, token in enumerate(tokens) if token.start() >= half.end), len(tokens))
            continue
        if word not in numbers:
            at += 1
            continue
        first, total, current, last = at, 0.0, float(numbers[word]), numbers[word]
        at += 1
        while at < len(tokens) and known.joins.fullmatch(text, tokens[at - 1].end(), tokens[at].start()):
            word = said[at]
            if word in known.to and at + 1 < len(tokens) and last == 0 and said[at + 1] in numbers:
                at += 1  # "two hundred and five"
                continue
            if word in known.magnitudes and len(word) > 2:
                times = known.magnitudes[word]
                current, total = (current * times, total) if times == 100 else (0, total + (current or 1) * times)
            elif word in numbers and _continues(current, last, numbers[word]):
                joined_year = 13 <= current <= 99 and numbers[word] >= 10 and not 20 <= last <= 90
                current = current * 100 + numbers[word] if joined_year else current + numbers[word]
            else:
                break
            last = numbers.get(word, 0)
            at += 1
        number, start, end = total + current, tokens[first].start(), tokens[at - 1].end()
        more = _AND_A_HALF.match(text, end)
        if more and more[1] in known.halves:
            number, end = number + known.halves[more[1]], more.end()
        unit = ""
        if found := unit_at(text, end, known):
            end, unit = found
        bound = bound_of(text, text[max(0, start - 30) : start], start, end, known)
        yield Value("number", start, end, number, number, unit, bound, spelled=True)


def _continues(current: float, last: float, number: int) -> bool:
    if last == 0:
        return True  # behind a magnitude
    return (20 <= last <= 90 and number < 10) or (13 <= current <= 20 and 10 <= number <= 99)


def _halves(text: str, tokens: list[re.Match[str]], at: int, known: Notation) -> Value | None:
    """``half an hour``, ``an hour and a half``."""
    first, start, end = tokens[at].group().casefold(), tokens[at].start(), tokens[at].end()
    if first in known.halves:
        gap = _OF_A.match(text, end)
        found, number = unit_at(text, gap.end(), known) if gap else None, known.halves[first]
        if found and at and tokens[at - 1].group().casefold() in known.articles:
            start = tokens[at - 1].start()
        return Value("number", start, found[0], number, number, found[1], spelled=True) if found else None
    found = unit_at(text, end, known)
    more = _AND_A_HALF.match(text, found[0]) if found else None
    if not (found and more and more[1] in known.halves):
        return None
    number = 1 + known.halves[more[1]]
    return Value("number", start, more.end(), number, number, found[1], spelled=True)
