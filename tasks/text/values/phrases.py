"""Short texts compared by their values and words: in one spelling, as a list, one inside the other."""

from collections.abc import Sequence
from functools import lru_cache

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH, language
from tasks.text.tokens import stem, words
from tasks.text.values.comparing import same
from tasks.text.values.reading import prepared, read_number, read_values
from tasks.text.values.units import MARKS
from tasks.text.values.value import ALPHABETIC, Value, notation

_TERM = pattern(r"(?<![\w)])-(?=\d)|\d+(?:[.,:]\d+)*|[^\W\d_]+|[$€£¥₹%<>≤≥]")
_ITEMS = pattern(r"\s*[,;]\s*(?:(?:and|or|und|oder|et|ou|y|o)\s+)?|\s+(?:and|or|und|oder|et|y)\s+|\n\s*[-*•]?\s*")
_TO_VALUE = frozenset(["a", "an", "the", "at", "about", "exactly", "only", "just", "approximately", "around", "of"])
_NO = pattern(r"\b[Nn]os?\.\s?$")
_NOT = (["rather", "than"], ["isn", "t"], ["wasn", "t"], ["aren", "t"])


@lru_cache(maxsize=64)  # of a row, asked by several measures
def aligned(text: str, other: str, code: str = ENGLISH, *, strict: bool = True) -> str:
    """A text with each value that `other` spells differently in the spelling of `other`."""
    if text == other:
        return text
    mine = read_values(text, code)
    theirs = read_values(other, code) if mine else ()
    parts, end = [], 0
    for value in mine if theirs else ():
        alike = [each for each in theirs if same(value, each, strict=strict)]
        twin = next((each for each in alike if each.unit or not value.unit), None)
        if twin and other[twin.start : twin.end].casefold() != text[value.start : value.end].casefold():
            parts += [text[end : value.start], other[twin.start : twin.end]]
            end = value.end
    return "".join([*parts, text[end:]]) if parts else text


@lru_cache(maxsize=64)  # of a row, asked by several measures
def terms(text: str, code: str = ENGLISH, *, articles: bool = True) -> tuple[str, ...]:
    """Words and numbers as they are compared: case-folded, numbers in one spelling with their sign, currency marks.

    Without `articles` an article counts only where nothing follows it, as in "vitamin A".
    """
    found: list[str] = []
    sign, known, paired = "", notation(code), language(code).segmentation == "characters"
    own = language(code).articles
    said = _TERM.findall(prepared(text))
    for at, (each, word) in enumerate(zip(said, map(str.casefold, said), strict=True)):
        if word.isalpha() and word not in own and not paired:
            found.append(word)
        elif each[0].isdigit():
            whole = ":" in each or each.count(".") > 1 or (at and found and found[-1] in known.naming)
            amount = each if whole else f"{read_number(each, known):.12g}"
            found.append(sign + amount)
            sign = ""
        elif each == "-":
            sign = "-"
        elif not articles and word in own and at + 1 < len(said) and (each.islower() or at == 0):
            continue
        elif paired and len(word) > 1 and not word.isascii():
            found += words(word, code)
        else:
            found.append(MARKS.get(word, word))
    return tuple(found)


def identifiers(text: str, code: str = ENGLISH) -> list[str]:
    """Letters and digits that stand together in a text, such as ``P-101`` or ``v2.1``."""
    return [text[each.start : each.end] for each in read_values(text, code) if each.kind == "name"]


def holds(text: str, value: str, code: str = ENGLISH) -> bool:
    """Whether a short value stands in a text, in whatever notation: ``5 kW`` in ``It takes 5000 W.``

    Its words by stems, one behind the other, or of a list in any order; ``16 bar`` is neither in ``116 bar`` nor in
    ``-16 bar``.
    """
    wanted = read_values(value, code)
    if wanted and _is_all(value, wanted):
        said = read_values(text, code)
        return all(any(_stands_for(other, each) for other in said) for each in wanted)
    needle = _stemmed(value, code)
    if not needle:
        return value.strip().casefold() in text.casefold()
    hay = f" {_stemmed(aligned(text, value, code), code)} "
    if f" {needle} " in hay:
        return True
    items = [_stemmed(item, code) for item in list_items(value)]
    return len(items) > 1 and all(item and f" {item} " in hay for item in items)


def _stemmed(text: str, code: str) -> str:
    """The stems of the terms, numbers in words as numbers."""
    known = language(code).numbers.cardinals
    return " ".join([stem(str(known[each]) if each in known else each, code) for each in terms(text, code)])


def _is_all(text: str, found: Sequence[Value]) -> bool:
    """Whether a text is its values and no more."""
    rest, end = [], 0
    for value in found:
        rest.append(text[end : value.start])
        end = value.end
    return not any(map(str.isalnum, "".join([*rest, text[end:]])))


def _stands_for(other: Value, value: Value) -> bool:
    if value.unit and not other.unit and other.kind == "number" or value.bound and value.bound != other.bound:
        return False
    return same(value, other)


def alternatives(code: str = ENGLISH) -> frozenset[str]:
    """The words that join two of which only one holds: "or"."""
    return notation(code).alternatives


def naming(code: str = ENGLISH) -> frozenset[str]:
    """The words before a number that is a name, so that each of its digits counts: "version"."""
    return notation(code).naming


def listing(code: str = ENGLISH) -> frozenset[str]:
    """The words that join the items of a list: "and"."""
    return notation(code).listing | notation(code).alternatives


def list_items(text: str) -> list[str]:
    """The items of a list: ``red, green and blue``."""
    return [item.strip(" .-*•") for item in _ITEMS.split(text.strip().rstrip(".")) if item.strip(" .-*•")]


def negated_before(text: str, at: int, code: str = ENGLISH) -> bool:
    """Whether a negation stands directly before this place: ``not 16 bar``, ``rather than at 16 bar``."""
    if _NO.search(text[max(0, at - 5) : at]):
        return False  # No. 5
    before = [each.casefold() for each in ALPHABETIC.findall(text[max(0, at - 40) : at])][-4:]
    while before and before[-1] in _TO_VALUE:
        before.pop()
    return before[-2:] in _NOT or not notation(code).negations.union(["instead"]).isdisjoint(before[-1:])
