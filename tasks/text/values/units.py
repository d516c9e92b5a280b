"""What stands around a number and belongs to it: the unit behind it, the comparison before or behind it."""

from tasks.text.cached import pattern
from tasks.text.values.value import ALPHABETIC, Notation, data, notation

_UNIT = pattern(r"[^\S\n]?-?(°\s?[CF]?|%|‰|[µμ]?[^\W\d_]+(?:/[^\W\d_]+)?\^?[23]?)")
_SECOND = pattern(r"[ .-]([^\W\d_]+)")
_PER = pattern(r"\s?/\s?|\s+([^\W\d_]+)\s+")
_COMPARED = pattern(r"(<=|>=|[<>≤≥])\s*$")
_COMPARING = frozenset("<>=≤≥")
_OR_MORE = pattern(r"\s+(?:or|oder)\s+([^\W\d_]+)")
_SENTENCE_END = pattern(r"[.;!?]\s")
MARKS = {"<": "<", ">": ">", "≤": "<=", "≥": ">=", "<=": "<=", ">=": ">="}
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


def unit_at(text: str, at: int, known: Notation) -> tuple[int, str] | None:
    """The unit behind a number and where it ends: ``litres per minute``."""
    found = _unit(text, at, known)
    if found is None:
        return None
    end, unit = found
    per = _PER.match(text, end)
    if per and (per[1] is None or per[1].casefold() in known.per) and (under := _unit(text, per.end(), known)):
        return under[0], f"{unit}/{under[1]}"
    return end, unit


def _unit(text: str, at: int, known: Notation) -> tuple[int, str] | None:
    word = _UNIT.match(text, at)
    if not word or word.group() == "s":  # "the 1990s"
        return None
    said, end, units, money = word[1].replace("^", ""), word.end(), known.units, data()["currencies"]
    if second := _SECOND.match(text, end):
        both = f"{said} {second[1]}"
        if unit := units.get(both.casefold()) or units.get(both) or money.get(both.casefold()):
            return second.end(), unit
    unit = units.get(said) or (units.get(said.casefold()) if len(said) > 2 else None) or money.get(said)
    return (end, unit) if unit else None


def bound_at(text: str, start: int, end: int, code: str) -> str:
    """The comparison of the number that stands there."""
    return bound_of(text, text[max(0, start - 30) : start], start, end, notation(code))


def multiplies(text: str, end: int, code: str) -> bool:
    """Whether the word behind a number may belong to it: a unit, "million"."""
    word = ALPHABETIC.match(text, end + 1)
    return word is None or word.group().casefold() in notation(code).followers


def bound_of(text: str, before: str, start: int, end: int, known: Notation) -> str:
    """The comparison of a number: ``more than 5``, ``5 or more``, ``no more than 5``."""
    said = before.rstrip().casefold()
    if said[-1:] in _COMPARING and (mark := _COMPARED.search(said)):
        return MARKS[mark[1]]
    word = said[said.rfind(" ") + 1 :]
    if not word.isalpha():
        word = (ALPHABETIC.findall(word) or [""])[-1]
    for phrase, bound in known.bounds.get(word, ()):
        if said.endswith(phrase) and not said[: -len(phrase)][-1:].isalpha():
            ahead = text[max(0, start - 70) : start].casefold()
            ahead = _SENTENCE_END.split(ahead)[-1].removesuffix(phrase)
            if phrase[:2] != "no" and not known.negations.isdisjoint(ALPHABETIC.findall(ahead)):
                return _OPPOSITE[bound]
            return bound
    return bound_behind(text, end, known)


def bound_behind(text: str, end: int, known: Notation) -> str:
    """The comparison that stands behind a number: ``5 or more``."""
    behind = _OR_MORE.match(text, end)
    return known.behind.get(behind[1].casefold(), "") if behind else ""
