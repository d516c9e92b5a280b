"""Citations of numbered passages: "[2]", "[1, 3]", "[^2]", "【2】", "【2†source】", and "(2)" where a clause ends."""

import re
from collections.abc import Sequence
from functools import cache

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH, language
from tasks.text.tokens import sentences

_ROUND = pattern(r"\s*\((\d{1,2}(?:\s*,\s*\d{1,2})*)\)(?=\s*(?:[.!?,;:]|$))")
_BEHIND = pattern(r"([.!?])((?:\s*[\[【]\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*[\]】])+)")  # "… 1937. [2]"
_MARK = pattern(r"[\[【(]\s*(?:\^|[a-z]+ )?\d", re.IGNORECASE)


@cache
def _bracketed(code: str) -> re.Pattern[str]:
    names = _names(code, "marked")
    numbers = r"(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)"
    place = r"(?::\d+)?(?:[†‡][^\]】]*)?"  # "3:1†report.pdf", as file search marks it
    named = rf"(?:\^|(?:{names}|docs?|src|ref|[sdp])[ _-]?)?"
    return re.compile(rf"\s*[\[【]\s*{named}{numbers}{place}\s*[\]】]", re.IGNORECASE)


@cache
def _named(code: str) -> re.Pattern[str]:
    """A source in brackets: "(Source: timetable, p. 4)"."""
    return re.compile(rf"\s*[(\[](?:{_names(code, 'marked')}|src|ref)\s?:[^()\[\]]*[)\]]", re.IGNORECASE)


def _names(code: str, where: str) -> str:
    """How passages are called in a language; in English, too, which prompts in other languages often keep."""
    return "|".join([getattr(language(each).citations, where) for each in dict.fromkeys((ENGLISH, code))])


def without_citations(text: str, code: str = ENGLISH) -> str:
    """The text without the marks of its citations in square brackets, which say nothing that a context could hold."""
    if "(" in text or "[" in text:
        text = _named(code).sub("", text) if ":" in text else text
    return _bracketed(code).sub("", text) if "[" in text or "【" in text else text


def cited_sentences(answer: str, code: str = ENGLISH) -> list[tuple[str, list[int]]]:
    """The sentences of an answer, without their marks, with the numbers that each cites; of a range, every number.

    A mark behind a full stop belongs to the sentence before it.
    """
    if not _MARK.search(answer):
        return [(sentence, []) for sentence in sentences(answer, code)]
    found: list[tuple[str, list[int]]] = []
    for sentence in sentences(_BEHIND.sub(r"\2\1", answer), code):
        marks = _bracketed(code).findall(sentence) + _ROUND.findall(sentence)
        found.append(
            (_ROUND.sub("", _bracketed(code).sub("", sentence)), [n for mark in marks for n in _numbers(mark)])
        )
    return found


def numbered(passages: Sequence[str], code: str = ENGLISH) -> dict[int, str]:
    """Passages by the numbers that stand in front of them ("[1] …", "Passage 2: …"); empty where there are none.

    Passages may be apart or in one text, each on a line of its own. The first number must be 0 or 1, the others follow.
    """
    text = "\n".join(passages)
    names = _names(code, "numbered")
    in_front = rf"(?mi)^\s*(?:[\[(【](\d{{1,3}})[\])】]|(?:{names})\s+(\d{{1,3}})\s*[:.)-]|(\d{{1,3}})[.)]\s)"
    marks = list(re.finditer(in_front, text))
    numbers = [int(next(filter(None, mark.groups()))) for mark in marks]
    if not numbers or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {number: text[mark.end() : end].strip() for number, mark, end in zip(numbers, marks, ends, strict=True)}


def _numbers(mark: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"\s*[,;]\s*", mark):
        first, *last = re.split(r"\s*[–-]\s*", part)
        numbers += range(int(first), int(last[0] if last else first) + 1)
    return numbers
