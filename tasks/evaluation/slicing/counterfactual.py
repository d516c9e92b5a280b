"""Counterfactual: the passage says otherwise, and who reads strictly from it answers what it says now."""

import re
from collections.abc import Iterator

from tasks.evaluation.slicing.another import other_numbers, shape
from tasks.evaluation.slicing.question import Made, Question, Unfit
from tasks.text import holds

DRAWS = 8  # other numbers to try until one stands nowhere in the context
_GROUPED = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"
_NUMERAL = re.compile(rf"(?<![\w.,:-])(?:{_GROUPED}|\d+(?:\.\d+)?)(?![\w:]|[.,]\d)")


def counterfactual(question: Question) -> Made:
    """Another value of the same kind in the passages that hold the answer, in the answer and in `value`.

    The value is the row's, or the first number of the answer that can be changed. Another one has other numbers, or, if
    it has none, is the value of a like question about another document. The wrong answer is the old one.
    """
    row = question.row
    unfit = Unfit("the answer states no value to change")
    numerals = (match.group() for match in _NUMERAL.finditer(row.answer))
    for old in [row.value] if row.value else dict.fromkeys(numerals):
        try:
            return _changed(question, old)
        except Unfit as why:
            unfit = why
    raise unfit


def _changed(question: Question, old: str) -> Made:
    row, gold = question.row, question.gold
    if holds(row.query, old):
        raise Unfit("the question names the value")
    if not _spells(row.answer, old) or not any(_spells(row.context[at], old) for at in gold):
        raise Unfit("passage and answer spell the value differently")
    new = next(_others(question, old), None)
    if new is None:
        raise Unfit("there is no other value of its kind")
    context = tuple(_swapped(each, old, new) if at in gold else each for at, each in enumerate(row.context))
    if any(holds(passage, old) for passage in context):
        raise Unfit("the old value stands elsewhere, too")
    right = row._replace(context=context, answer=_swapped(row.answer, old, new), value=new)
    return Made(right, row._replace(context=context, value=old))


def _others(question: Question, old: str) -> Iterator[str]:
    """Values to put in its place, none of which the context holds yet, or the question, which an answer may echo."""
    if any(map(str.isdigit, old)):
        tries = [_renumbered(question, old, number) for number in range(DRAWS)]
    else:
        tries = [value for value in question.values if shape(value) == shape(old)]
    said = (*question.row.context, question.row.query)
    return (new for new in tries if not any(holds(text, new) for text in said))


def _renumbered(question: Question, old: str, number: int) -> str:
    return other_numbers(old, lambda at: question.draw("counterfactual", old, str(number), at))


def _spells(text: str, value: str) -> bool:
    return _pattern(value).search(text) is not None


def _swapped(text: str, old: str, new: str) -> str:
    """With the new value wherever the old one stands; with a capital where that had one."""

    def put(match: re.Match[str]) -> str:
        return new[:1].upper() + new[1:] if match.group()[:1].isupper() and old[:1].islower() else new

    return _pattern(old).sub(put, text)


def _pattern(value: str) -> re.Pattern[str]:
    """The value as a whole: 16 is neither in 116, 16.5, 1,016 nor P-16."""
    spelt = r"\s+".join(map(re.escape, value.split()))
    return re.compile(rf"(?<![\w-])(?<!\d[.,:]){spelt}(?!\w|[.,:]\d)", re.IGNORECASE)
