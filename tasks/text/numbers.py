"""Numbers in text, in one spelling, so that ``1,250.0`` and ``1250`` are the same."""

import re
from collections.abc import Iterator

from tasks.text.words import normalise, words

_NUMBER = re.compile(r"(?<!\w)\d+(?:[.,:]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MARKER = re.compile(r"(?m)^\s*\(?\d{1,2}[.)]\s|\(\d{1,2}\)|\[\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]")

_UNITS = {
    "zero": 0, "one": 1, "first": 1, "two": 2, "second": 2, "twice": 2, "three": 3, "third": 3, "four": 4,
    "fourth": 4, "five": 5, "fifth": 5, "six": 6, "sixth": 6, "seven": 7, "seventh": 7, "eight": 8, "eighth": 8,
    "nine": 9, "ninth": 9, "ten": 10, "tenth": 10, "eleven": 11, "eleventh": 11, "twelve": 12, "twelfth": 12,
    "dozen": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip


def numbers(text: str) -> list[str]:
    """The numbers that a text states in digits, normalised, in order.

    ``3,100`` is ``3100``, ``05.50`` is ``5.5``, ``19th`` is ``19``; ``10-12`` is two numbers; a time or version keeps
    its parts together (``7:30``, ``1.2.3``). Left out: list markers (``1.``, ``(2)``), citations (``[3]``), and digits
    glued behind a letter (``B12``), which are part of a name.
    """
    return _canonical(_NUMBER.findall(_MARKER.sub(" ", normalise(text))))


def supported_numbers(text: str) -> frozenset[str]:
    """Every number that a context may be said to state: list markers, parts of times, and numbers in words too."""
    found = _NUMBER.findall(normalise(text))
    parts = [part for number in found if ":" in number or "," in number for part in re.split("[,:]", number)]
    decimals = [number.replace(",", ".") for number in found if "," in number]
    return frozenset([*_canonical(found + parts + decimals), *map(str, _spelled(words(text)))])


def _canonical(found: list[str]) -> list[str]:
    spelled: list[str] = []
    for number in found:
        if _GROUPED.fullmatch(number):
            number = number.replace(",", "")
        for part in number.split(","):
            whole, point, fraction = part.partition(".")
            if whole.isdigit() and (fraction.isdigit() or not point):
                fraction = fraction.rstrip("0")
                part = (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
            spelled.append(part)
    return spelled


def _spelled(tokens: list[str]) -> Iterator[int]:
    tens = 0
    for token in tokens:
        unit = _UNITS.get(token)
        if unit is not None:
            yield unit
            if tens and 0 < unit < 10:
                yield tens + unit
        tens = _TENS.get(token, 0)
        if tens:
            yield tens
