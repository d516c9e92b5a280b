"""Numbers in text, in one spelling, so that ``1,250.0`` and ``1250`` are the same."""

import re
from collections.abc import Iterable

from tasks.text.cached import pattern
from tasks.text.language import language
from tasks.text.tokens import normalise

_NUMBER = pattern(r"\d(?<!\w\d)(?<!\d[.,:]\d)\d*(?:[.,:]\d+)*")  # the class in front lets the engine skip
_DIGIT = pattern(r"\d")
_GROUPED = pattern(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_MARKER = pattern(r"(?m)^\s*\(?\d{1,2}[.)]\s|\(\d{1,2}\)|\[\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]")

_JOINING = frozenset(".,:_")  # between digits, and before them


def numbers(text: str) -> list[str]:
    """The numbers that a text states in digits, normalised, in order.

    ``3,100`` is ``3100``, ``05.50`` is ``5.5``, ``19th`` is ``19``; ``10-12`` is two numbers; a time or version
    keeps its parts together (``7:30``, ``1.2.3``). Left out: list markers (``1.``, ``(2)``), citations (``[3]``),
    and digits glued behind a letter (``B12``), which are part of a name.
    """
    text = normalise(text)
    if not _DIGIT.search(text):
        return []
    return canonical(_NUMBER.findall(_MARKER.sub(" ", text) if _may_be_marked(text) else text))


def _may_be_marked(text: str) -> bool:
    """Whether a marker may stand in a text: each has a bracket, or begins a line with a digit."""
    return "(" in text or "[" in text or any([line.lstrip()[:1].isdigit() for line in text.split("\n")])


def without_markers(text: str) -> str:
    """Text of the same length without list markers and citations."""
    return _MARKER.sub(lambda match: " " * len(match.group()), text)


def numerals(number: int) -> list[str]:
    """A whole number in Roman numerals of more than one letter, up to 39, and in Chinese ones, up to 9999."""
    found = []
    if 0 < number < 40:
        found = ["X" * (number // 10) + ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"][number % 10]]
    if 0 < number < 10_000:
        digits = [(int(each), unit) for each, unit in zip(f"{number:04}", "千百十", strict=False)] + [(number % 10, "")]
        said = "".join(f"{'零一二三四五六七八九'[digit]}{unit}" for digit, unit in digits if digit)
        found += [said, *(said[1:],) * said.startswith("一十"), *("两",) * (number == 2)]
    return [each for each in found if len(each) > 1 or not each.isascii()]


def supported_numbers(text: str, tokens: Iterable[str]) -> frozenset[str]:
    """Every number that a context may be said to state: list markers, parts of times, numbers in words too.

    `tokens` are the text's words, in any order.
    """
    found = _NUMBER.findall(normalise(text))
    for number in [number for number in found if ":" in number or "," in number]:
        found += [*re.split("[,:]", number), number.replace(",", ".")]
    known = language().numbers
    said = known.all.keys() & tokens
    spelled = [known.all[token] for token in said]
    if tens := said & known.ten:
        spelled += [number for ten in tens for number in _compounds(text.lower(), ten)]
    return frozenset([*canonical(found), *map(str, spelled)])


def _compounds(text: str, ten: str) -> list[int]:
    """The numbers like "twenty-one" with this ten; a pattern over all tens takes 10 times as long."""
    known, found, start = language().numbers, [], -1
    while (start := text.find(ten, start + 1)) >= 0:
        unit = known.unit.match(text, start + len(ten))
        if unit and not (start and (text[start - 1].isalnum() or text[start - 1] == "_")):
            found.append(known.all[ten] + known.all[unit[1]])
    return found


def stands(number: str, text: str) -> bool:
    """Whether a number surely stands in a text as it is spelt, part of no other: False means "look closer"."""
    start = text.find(number)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(number) : start + len(number) + 2]
        joined = after[:1].isdigit() or (after[:1] in _JOINING and after[1:].isdigit())
        if not joined and not before.isalnum() and before not in _JOINING and (before + after).isascii():
            return True
        start = text.find(number, start + 1)
    return False


def canonical(found: list[str]) -> list[str]:
    """Numbers in their one spelling; those joined by a comma, unless it groups thousands, apart."""
    spelled: list[str] = []
    for number in found:
        if number.isdecimal():
            spelled.append(number.lstrip("0") or "0")
            continue
        if _GROUPED.fullmatch(number):
            number = number.replace(",", "")
        for part in number.split(","):
            whole, point, fraction = part.partition(".")
            if whole.isdigit() and (fraction.isdigit() or not point):
                fraction = fraction.rstrip("0")
                part = (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
            spelled.append(part)
    return spelled
