"""Numbers in words, with their units: ``two hundred and five litres``, ``an hour and a half``."""

import re
from collections.abc import Iterable, Iterator

from tasks.text.cached import pattern
from tasks.text.values.units import bound_of, unit_at
from tasks.text.values.value import ALPHABETIC, Notation, Value

REACH = 60  # characters before a half in which "an hour and a …" may begin
_AND_A_HALF = pattern(r"\s+and\s+(?:a\s+)?(half|quarter)\b")
_OF_A = pattern(r"\s+(?:of\s+)?(?:an?\s+)?")
_ARTICLE = pattern(r"([^\W\d_]+)\s$")
_NEXT = pattern(r"[\s-]+([^\W\d_]+)")


def read_spelled(text: str, said: Iterable[str], known: Notation) -> Iterator[Value]:
    """The numbers in words of a text that has these number words, in order."""
    end = 0
    for token, may_open in _places(text, said, known):
        if token.start() < end:
            continue
        value = (_half(text, token, known) if may_open else None) or _number(text, token, known)
        if value:
            yield value
            end = value.end


def _places(text: str, said: Iterable[str], known: Notation) -> list[tuple[re.Match[str], bool]]:
    """The words that numbers may begin with, in order, and whether halves may."""
    if not text.isascii():  # case folding may change its length
        halves = known.articles.union(known.halves) if any(map(text.casefold().__contains__, known.halves)) else ()
        tokens = [(token, token.group().casefold()) for token in ALPHABETIC.finditer(text)]
        return [(token, word in halves) for token, word in tokens if word in known.spelled or word in halves]
    lowered = text.lower()
    places = [(at, word in known.halves) for word in said for at in _standing(word, lowered)]
    for half in [at for at, is_half in places if is_half]:
        near = lowered[:half]
        places += [(at, True) for word in known.articles for at in _standing(word, near, max(0, half - REACH))]
    found: list[tuple[re.Match[str], bool]] = []
    for at, may_open in sorted(dict(sorted(places)).items()):
        if token := ALPHABETIC.match(text, at):
            found.append((token, may_open))
    return found


def _standing(word: str, text: str, start: int = 0) -> Iterator[int]:
    """Where a word stands in a text, no letter beside it."""
    at = text.find(word, start)
    while at >= 0:
        end = at + len(word)
        if not (text[end : end + 1].isalpha() or (at and text[at - 1].isalpha())):
            yield at
        at = text.find(word, at + 1)


def _number(text: str, token: re.Match[str], known: Notation) -> Value | None:
    """The number that begins with a word."""
    numbers, word, start, end = known.numbers, token.group().casefold(), *token.span()
    if word in numbers:
        total, current, last = 0.0, float(numbers[word]), numbers[word]
    elif article := _ARTICLE.search(text[max(0, start - 12) : start]):
        if word not in known.dozens or article[1].casefold() not in known.articles:
            return None
        start -= len(article.group())
        total, current, last = (
            (0.0, known.magnitudes[word], 0) if known.magnitudes[word] <= 100 else (known.magnitudes[word], 0.0, 0)
        )
    else:
        return None
    while more := _NEXT.match(text, end):
        word = more[1].casefold()
        if word in known.to and last == 0:  # "two hundred and five"
            behind = _NEXT.match(text, more.end())
            if behind and behind[1].casefold() in numbers:
                more, word = behind, behind[1].casefold()
        if word in known.magnitudes and len(word) > 2:
            times = known.magnitudes[word]
            current, total = (current * times, total) if times == 100 else (0, total + (current or 1) * times)
        elif word in numbers and _continues(current, last, numbers[word]):
            joined_year = 13 <= current <= 99 and numbers[word] >= 10 and not 20 <= last <= 90
            current = current * 100 + numbers[word] if joined_year else current + numbers[word]
        else:
            break
        last, end = numbers.get(word, 0), more.end()
    number = total + current
    half = _AND_A_HALF.match(text, end)
    if half and half[1] in known.halves:
        number, end = number + known.halves[half[1]], half.end()
    unit = ""
    if found := unit_at(text, end, known):
        end, unit = found
    bound = bound_of(text, text[max(0, start - 30) : start], start, end, known)
    return Value("number", start, end, number, number, unit, bound, spelled=True)


def _continues(current: float, last: float, number: int) -> bool:
    if last == 0:
        return True  # behind a magnitude
    return (20 <= last <= 90 and number < 10) or (13 <= current <= 20 and 10 <= number <= 99)


def _half(text: str, token: re.Match[str], known: Notation) -> Value | None:
    """``half an hour``, ``an hour and a half``."""
    first, start, end = token.group().casefold(), *token.span()
    if first in known.halves:
        gap = _OF_A.match(text, end)
        found, number = unit_at(text, gap.end(), known) if gap else None, known.halves[first]
        before = list(ALPHABETIC.finditer(text, max(0, start - REACH), start))
        if before and before[-1].group().casefold() in known.articles:
            start = before[-1].start()
        return Value("number", start, found[0], number, number, found[1], spelled=True) if found else None
    found = unit_at(text, end, known)
    more = _AND_A_HALF.match(text, found[0]) if found else None
    if not (found and more and more[1] in known.halves):
        return None
    number = 1 + known.halves[more[1]]
    return Value("number", start, more.end(), number, number, found[1], spelled=True)
