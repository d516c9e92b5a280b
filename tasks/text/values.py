"""Whether a text holds a short value, however the value or the text spell it."""

import re

from tasks.text.quantities import CARDINALS, canonical
from tasks.text.tokens import normalise, stem

_TERM = re.compile(r"(?<!\w)[-−](?=\d)|\d+(?:[.,:]\d+)*|[^\W\d_]+")


def holds(text: str, value: str) -> bool:
    """Whether the terms of `value` stand in `text` one behind the other: ``1,450 rpm`` in ``runs at 1450rpm.``

    Compared by stems, without case and punctuation, numbers by value and with their sign: ``16 bar`` is neither in
    ``116 bar`` nor in ``-16 bar``, and ``three`` is ``3``.
    """
    wanted = _terms(value)
    if not wanted:
        return value.strip().casefold() in text.casefold()
    return f" {' '.join(wanted)} " in f" {' '.join(_terms(text))} "


def _terms(text: str) -> list[str]:
    terms: list[str] = []
    sign = ""
    for term in _TERM.findall(normalise(text).casefold()):
        if term in "-−":
            sign = "-"
        elif term[0].isdigit():
            terms += [sign + number for number in canonical([term])]
            sign = ""
        else:
            terms.append(str(CARDINALS[term]) if term in CARDINALS else stem(term))
    return terms
