"""Numbers in text, in one spelling, so that ``1,250.0`` and ``1250`` are the same."""

import re
from collections.abc import Iterable

from tasks.text.tokens import normalise

_NUMBER = re.compile(r"\d(?<!\w\d)\d*(?:[.,:]\d+)*")  # begins with a class, so that the engine skips to it
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MARKER = re.compile(r"(?m)^\s*\(?\d{1,2}[.)]\s|\(\d{1,2}\)|\[\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]")

_SPELLED = {
    word: value
    for value, spellings in {
        0: "zero", 1: "one first once", 2: "two second twice", 3: "three third", 4: "four fourth", 5: "five fifth",
        6: "six sixth", 7: "seven seventh", 8: "eight eighth", 9: "nine ninth", 10: "ten tenth",
        11: "eleven eleventh", 12: "twelve twelfth dozen", 13: "thirteen", 14: "fourteen", 15: "fifteen",
        16: "sixteen", 17: "seventeen", 18: "eighteen", 19: "nineteen", 20: "twenty", 30: "thirty", 40: "forty",
        50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety", 100: "hundred", 1000: "thousand",
    }.items()
    for word in spellings.split()
}  # fmt: skip
_TENS = frozenset("twenty thirty forty fifty sixty seventy eighty ninety".split())  # noqa: SIM905
_COMPOUND = re.compile(rf"\b({'|'.join(sorted(_TENS))})[\s-]+(one|two|three|four|five|six|seven|eight|nine)\b", re.I)


def numbers(text: str) -> list[str]:
    """The numbers that a text states in digits, normalised, in order.

    ``3,100`` is ``3100``, ``05.50`` is ``5.5``, ``19th`` is ``19``; ``10-12`` is two numbers; a time or version
    keeps its parts together (``7:30``, ``1.2.3``). Left out: list markers (``1.``, ``(2)``), citations (``[3]``),
    and digits glued behind a letter (``B12``), which are part of a name.
    """
    return _canonical(_NUMBER.findall(_MARKER.sub(" ", normalise(text))))


def supported_numbers(text: str, tokens: Iterable[str]) -> frozenset[str]:
    """Every number that a context may be said to state: list markers, parts of times, numbers in words too.

    `tokens` are the text's words, in any order.
    """
    found = _NUMBER.findall(normalise(text))
    for number in [number for number in found if ":" in number or "," in number]:
        found += [*re.split("[,:]", number), number.replace(",", ".")]
    spelled = [_SPELLED[token] for token in tokens if token in _SPELLED]
    if not _TENS.isdisjoint(tokens):
        spelled += [_SPELLED[ten.lower()] + _SPELLED[unit.lower()] for ten, unit in _COMPOUND.findall(text)]
    return frozenset([*_canonical(found), *map(str, spelled)])


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
