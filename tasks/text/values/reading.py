"""The values of a text: numbers in digits with what belongs to them, dates, times, identifiers, numbers in words."""

import re
from functools import lru_cache
from unicodedata import numeric

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH
from tasks.text.tokens import UNSPACED, normalise, stop_words, words
from tasks.text.values.comparing import factor, is_time
from tasks.text.values.spelled import read_spelled
from tasks.text.values.units import bound_behind, bound_of, unit_at
from tasks.text.values.value import CURRENCY_MARKS, Notation, Value, data, notation

_CANDIDATE = pattern(
    r"\d(?:"
    r"(?<!\w\d)(?P<iso>(?<=\d)\d{3}(?P<joint>[-/]|\. ?)(?:0?[1-9]|1[0-2])(?P=joint)"
    r"(?:0?[1-9]|[12]\d|3[01])(?![\d.]*\d))"
    r"|(?<!\w\d)(?P<date>\d?(?P<mark>[./-])\d{1,2}(?P=mark)(?:\d{4}|\d{2})(?![\d.,]*\d))"
    r"|(?<!\w\d)(?P<time>\d?:\d\d(?::\d\d)?(?!\d))"
    r"|(?P<number>(?:\d{0,2}(?:[  ]\d{3})+(?:[.,]\d+)?(?!\d)|\d*(?:[.,:'’]\d+)*)(?:[eE][-+]?\d+(?!\w))?)"
    r")"
)
_POWER = pattern(r"\s?[×x·*]\s?10\^?([-−]?\d+)")
_POWER_OF_TEN = pattern("(?<![\\d.,×x·*])(?<![×x·*] )10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)")  # as long as 1e6
_CARET = pattern(r"\^(?:\{(\d+)\}|(\d+))")
_FRACTION = pattern(r"(\d*)\s?([¼-¾⅐-⅞])")
_RAISED = pattern("(?<=[^\\Wm10]|[.,])[⁰¹²³⁴⁵⁶⁷⁸⁹]|(?<=[^cdkmµ\\s]m)[⁰¹²³⁴⁵⁶⁷⁸⁹]")  # a note's number; not of m²
_PART = rf"[^\W{UNSPACED}]"  # of an identifier
_IDENTIFIER = pattern(rf"(?:{_PART}|\.)*(?:-{_PART}+)*")
_LETTER = rf"[^\W\d_{UNSPACED}]"
_LEFT_NAME = pattern(rf"{_LETTER}(?:{_PART}|\.)*(?:[-‐‑–]{_PART}*)?$|{_LETTER}+[-‐‑]$")
_CJK_DATE = pattern(r"(\d{4})[年년]\s?(?:(\d{1,2})[月월]\s?(?:(\d{1,2})[日号號일])?)?")
_CLOCK = pattern(r"(\d{1,2})\.(\d\d)")
_ORDINAL = pattern(r"(?:st|nd|rd|th)\b|s\b")
_CURRENCY = pattern(rf"((?<![A-Z])(?:US|CA|AU|NZ|HK|A|C|S)\$|[{CURRENCY_MARKS}])\s?$|\b([A-Z]{{3}})\s$")
_SIGN = pattern(r"(?<![\w)°%])([-−–])$|\bminus\s$", re.IGNORECASE)
_MONTH_BEFORE = pattern(r"([^\W\d_]+)\.?\s+(?:the\s+)?$")
_MONTH_BEHIND = pattern(r"(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?([^\W\d_]+)\.?(?:,?\s+(?:de\s+)?(\d{4}))?")
_YEAR_BEHIND = pattern(r"(?:st|nd|rd|th)?(?:,?\s+(\d{4}))?\b")
_MERIDIEM = pattern(r"\s?([ap])\.?\s?m\b\.?", re.IGNORECASE)
_MAGNITUDE = pattern(r"[^\S\n]?([^\W\d_]+)\b\.?")
_SHORT_MAGNITUDE = pattern(r"(m|M|k|K|bn|B)\b")
_HERALDS = frozenset(f"{CURRENCY_MARKS}-−–<>≤≥=.")  # before a number, what may change it
_QUIET = frozenset(",;:)!?]\"'”’")  # behind a number, what ends it
_NEXT = pattern(r"\.?\s+([^\W\d_]+|.)?")
GLUED = "glued"  # something that no blank separates from the number
_LOOSE = frozenset((GLUED, "x"))
_SIGNS = frozenset("-−–")
_OR = frozenset(("or", "oder"))
_LAST_WORD = pattern(r"[^\W\d_]+$")
_MARKS = {0x2011: "-", 0x2010: "-", 0x2212: "-", 0x066B: ".", 0x066C: ","}  # the last two are Arabic
_VERSION = pattern(r"v(\d+(?:\.\d+)?)")
_VERSIONS = pattern(r"v\d+(?:\.\d+)+")
_LETTERED = pattern(r"[a-jl-rt-zA-JL-Z](?![\w'’²³^/])")  # 12a
_BETWEEN_DIGITS = str.maketrans("", "", "  '’")


@lru_cache(maxsize=1 << 10)  # contexts repeat between rows, base and tuned
def read_values(text: str, code: str = ENGLISH) -> tuple[Value, ...]:
    """The values of a text, in order. Numbers in words are marked `spelled`."""
    known = notation(code)
    text = prepared(text)
    found: list[Value] = []
    end = 0
    for match in _CANDIDATE.finditer(text):
        if match.start() >= end and (value := _read(text, match, known, end)):
            found.append(value)
            end = value.end
    if not text.isascii() and (fractions := list(_FRACTION.finditer(text))):
        found = [each for each in found if not any(half.start() <= each.start < half.end() for half in fractions)]
        found += [_fraction(text, each, known) for each in fractions]
        found.sort(key=lambda value: value.start)
    if said := known.spelled.intersection(words(text, code)):
        taken = [(each.start, each.end) for each in found]
        spelled = read_spelled(text, said, known)
        found += [each for each in spelled if not any(s < each.end and each.start < e for s, e in taken)]
        found.sort(key=lambda value: value.start)
    return tuple(_joined(text, found, known) if len(found) > 1 else found)


def _joined(text: str, found: list[Value], known: Notation) -> list[Value]:
    """The values, parts of one as one: ``1 h 30 min``, ``2 years and 6 months``, ``3/4``, ``1 1/2``."""
    joined: list[Value] = []
    for value in found:
        last = joined[-1] if joined else None
        gap = text[last.end : value.start] if last else ""
        if last and gap == "/" and (ratio := _ratio(text, last, value)):
            joined[-1], value = ratio, ratio
            before = joined[-2] if len(joined) > 1 else None
            if before and text[before.end : ratio.start] == " " and _is_whole(before) and not before.unit:
                low = before.low + ratio.low
                joined[-2:] = [ratio._replace(start=before.start, low=low, high=low)]
        elif last and len(gap) < 6 and last.unit and value.unit and _goes_on(gap.strip(" ,"), last, value, known):
            low = last.low + value.low * factor(value.unit, last.unit)
            joined[-1] = last._replace(end=value.end, low=low, high=low)
        else:
            joined.append(value)
    return joined


def _ratio(text: str, one: Value, other: Value) -> Value | None:
    """A fraction of two whole numbers, the first one less; not part of a date or a path."""
    around = text[one.start - 1 : one.start] + text[other.end : other.end + 1]
    if "/" in around or one.unit or not (_is_whole(one) and _is_whole(other) and 0 < one.low < other.low <= 100):
        return None
    low = one.low / other.low
    return other._replace(start=one.start, low=low, high=low)


def _goes_on(word: str, last: Value, value: Value, known: Notation) -> bool:
    """Whether a quantity goes on in a smaller unit; behind an "and" only a duration."""
    if value.bound or value.kind != "number" or not _is_whole(last) or "percent" in (last.unit, value.unit):
        return False
    times = factor(value.unit, last.unit)
    return (
        0 <= value.low * times < 1 and 0 < times < 1 and (not word or (word in known.listing and is_time(value.unit)))
    )


def _is_whole(value: Value) -> bool:
    return value.kind == "number" and value.low == value.high and value.low % 1 == 0


def _fraction(text: str, match: re.Match[str], known: Notation) -> Value:
    number = float(match[1] or 0) + numeric(match[2])
    number, end, unit = _with_unit(text, match.end(), number, "", known)
    return Value("number", match.start(), end, number, number, unit)


def prepared(text: str) -> str:
    """Text of the same length with plain digits and marks."""
    if text.isascii():
        return text
    text = _RAISED.sub(" ", _POWER_OF_TEN.sub(lambda match: f"1e{normalise(match[1])}", text))
    plain = normalise(text)
    if len(plain) != len(text):
        plain = "".join(each if len(each) == 1 else char for char in text for each in [normalise(char)])
    return plain.translate(_MARKS)


def _read(text: str, match: re.Match[str], known: Notation, left: int) -> Value | None:
    """The value of which a match is the digits; `left`: the end of the value before."""
    start, end = match.span()
    last = text[start - 1] if start > left else ""
    if last and (last.isalpha() or last in "-_") and (name := _name(text, start, left)):
        return name
    if not text.isascii() and (dated := _CJK_DATE.match(text, start)):
        return Value("date", start, dated.end(), words=tuple([int(each or 0) for each in dated.groups()]))
    said, kind = match.group(), match.lastgroup
    if kind == "iso":
        year, month, day = map(int, said.split(match["joint"]))
        return _date(start, end, year, month, day)
    if kind == "date":
        one, two, year = map(int, said.split(match["mark"]))
        day, month = (two, one) if (not known.day_first and match["mark"] == "/") else (one, two)
        if month > 12:
            day, month = month, day
        return _date(start, end, year + (2000 if year < 50 else 1900) * (year < 100), month, day)
    if kind == "time":
        hours, minutes = map(int, said.split(":")[:2])
        if hours < 25 and minutes < 60:
            if meridiem := _MERIDIEM.match(text, end):
                hours, end = hours % 12 + 12 * (meridiem[1] in "pP"), meridiem.end()
            return Value("time", start, end, words=(60 * hours + minutes,))
    if text.startswith(known.clock, end) and (clock := _CLOCK.fullmatch(said)):
        return Value("time", start, end, words=(60 * int(clock[1]) + int(clock[2]),))
    if ":" in said or (said.count(".") > 1 and not _grouped(said, ".")):
        return Value("name", start, end, words=(said,))
    number = read_number(said, known)
    before, behind = _before(text, start, known), _behind(text, end, known)
    digits = said if "." in said or (said[0] == "0" and len(said) > 2) else ""
    named = bool(digits) and _is_named(text, start, known)
    if not before and not behind:
        return Value("number", start, end, number, number, digits=digits, named=named)
    meridiem = _MERIDIEM.match(text, end) if behind and number <= 12 and said.isdecimal() else None
    if meridiem:
        return Value("time", start, meridiem.end(), words=(int(60 * (number % 12 + 12 * (meridiem[1] in "pP"))),))
    whole = said.isdecimal() and (before in known.dated or behind in known.dated)
    if whole and (date := _month_date(text, start, end, int(number), known, before)):
        return date
    if behind == GLUED and (lettered := _LETTERED.match(text, end)) and not unit_at(text, end, known):
        return Value("name", start, lettered.end(), words=(text[start : lettered.end()].casefold(),))
    found = _quantity(text, start, end, number, known, left, before, behind)
    return found._replace(digits=digits, named=named and not found.unit) if digits else found


def _is_named(text: str, start: int, known: Notation) -> bool:
    """Whether the word before a number says that it is a name: "version 3.10", "§ 0012", "Python 3.10"."""
    before = text[max(0, start - 24) : start]
    bare = before.rstrip()
    word = _LAST_WORD.search(bare) if len(before) - len(bare) < 2 else None
    if not word:
        return bare[-1:] == "§"
    said = word.group().casefold()
    is_name = word.group()[0].isupper() and said not in known.paid and said not in stop_words(known.code)
    return said in known.naming or is_name


def _name(text: str, start: int, left: int) -> Value | None:
    """``T-554``, ``v1.2.3``; not ``EUR-500``."""
    name = _LEFT_NAME.search(text[max(left, start - 24) : start].rsplit(None, 1)[-1])
    if not name or name.group().rstrip("-").casefold() in data()["currencies"]:
        return None
    behind = _IDENTIFIER.match(text, start)
    stop = start + len(behind.group().rstrip(".-")) if behind else start
    start -= len(name.group())
    said = text[start:stop].casefold().replace("–", "-")
    if said[0] == "v" and (number := _VERSION.fullmatch(said)):
        low = float(number[1])
        return Value("number", start, stop, low, low, digits=number[1] if "." in said else "", named=True)
    return Value("name", start, stop, words=(said.removeprefix("v") if _VERSIONS.fullmatch(said) else said,))


def _before(text: str, start: int, known: Notation) -> str:
    """The word or mark before a number if it may change the number; before most there is none: "" """
    end = start - 1 if text[start - 1 : start] == " " else start
    if not text[end - 1 : end].isalpha():
        before = text[start - 24 if start > 24 else 0 : start].rstrip()
        if not before or not before[-1].isalpha():
            return before[-1:] if before[-1:] in _HERALDS else ""
        end = start - 24 + len(before) if start > 24 else len(before)
    word = text[text.rfind(" ", 0, end) + 1 : end]
    if not word.isalpha() and (letters := _LAST_WORD.search(word)):
        word = letters.group()
    word = word.casefold()
    return word if word in known.heralds else ""


def _behind(text: str, end: int, known: Notation) -> str:
    """The word or mark behind a number if it may belong to the number, else "" """
    behind = text[end : end + 1]
    if not behind or behind in _QUIET:
        return ""
    word = _NEXT.match(text, end)
    if not word:
        return "" if behind == "." else GLUED
    said = (word[1] or "").casefold()
    if said in known.to and said.isalpha():
        return said if known.range.match(text, end) else ""
    if known.glued and said.startswith(known.glued):
        return said
    return said if said in known.followers or (said and not said.isalnum() and said not in "([\"'“‘") else ""


def _grouped(said: str, mark: str) -> bool:
    first, *groups = said.split(mark)
    return 0 < len(first) <= 3 and first.isdigit() and all([len(each) == 3 and each.isdigit() for each in groups])


def read_number(said: str, known: Notation) -> float:
    """The number that digits with marks are."""
    if said.isdecimal():
        return float(said)
    mantissa, _, exponent = said.translate(_BETWEEN_DIGITS).lower().partition("e")
    marks = [char for char in mantissa if char in ".,"]
    if len(set(marks)) == 2:
        mantissa = mantissa.replace(marks[0], "").replace(marks[-1], ".")
    elif marks:
        mark = marks[0]
        groups = len(marks) > 1 or (mark == known.group and _grouped(mantissa, mark) and mantissa[0] != "0")
        mantissa = mantissa.replace(mark, "" if groups else ".")
    return float(f"{mantissa}e{exponent or 0}")


def _date(start: int, end: int, year: int, month: int, day: int) -> Value | None:
    return Value("date", start, end, words=(year, month, day)) if 0 < month < 13 and 0 < day < 32 else None


def _month_date(text: str, start: int, end: int, number: int, known: Notation, herald: str) -> Value | None:
    """``3 May 2024``, ``May 3, 2024``, ``May 2024``, ``3 May``."""
    may_be = herald in known.months or herald in (".", "the")
    before = _MONTH_BEFORE.search(text[max(0, start - 20) : start]) if may_be else None
    if before and (month := known.months.get(before[1].casefold())):
        begin = start - len(before.group())
        if number > 31:
            return Value("date", begin, end, words=(number, month, 0))
        rest = _YEAR_BEHIND.match(text, end)
        year = int(rest[1]) if rest and rest[1] else 0
        return Value("date", begin, rest.end() if rest and year else end, words=(year, month, number))
    after = _MONTH_BEHIND.match(text, end) if 0 < number < 32 else None
    if after and (month := known.months.get(after[1].casefold())):
        return Value("date", start, after.end(), words=(int(after[2] or 0), month, number))
    return None


def _quantity(
    text: str, start: int, end: int, number: float, known: Notation, left: int, herald: str, behind: str
) -> Value:
    """A number with all that belongs to it: sign, comparison, range, magnitude, unit, currency."""
    stop = end
    # Whether no word tells what follows.
    loose = bool(behind) and (not behind.isalpha() or behind in _LOOSE or behind.startswith(known.glued))
    if loose:
        if number == 10 and (power := _CARET.match(text, end)):
            number, end = float(f"1e{power[1] or power[2]}"), power.end()
        elif power := _POWER.match(text, end):
            number, end = number * float(f"1e{power[1].replace('−', '-')}"), power.end()
    before, unit, bound = text[max(left, start - 30) : start] if herald else "", "", herald in known.compared
    if herald in known.paid and (currency := _CURRENCY.search(before)):
        unit = data()["currencies"].get(currency[1] or currency[2], "")
        start, before, bound = start - len(currency.group()), before[: currency.start()], True
    if (before[-1:] in _SIGNS or before[-6:-1].lower() == "minus") and (sign := _SIGN.search(before)):
        number, start, before, bound = -number, start - len(sign.group()), before[: sign.start()], True
    if behind and (loose or end > stop or behind in known.measured):
        number, end, unit = _with_unit(text, end, number, unit, known)
    low = high = number
    more = loose or end > stop  # what stands behind the number is not yet told
    joint = known.range.match(text, end) if more or behind in known.to else None
    second = _CANDIDATE.match(text, _digit(text, joint.end())) if joint else None
    if joint and second and second["number"] is not None and ":" not in second.group():
        other, end_of_both, its_unit = _with_unit(text, second.end(), read_number(second.group(), known), unit, known)
        opened = joint[1] not in known.listing or (before or text[max(left, start - 30) : start]).rstrip().endswith(
            known.opening
        )
        if other > abs(low) and opened and (not unit or unit == its_unit):
            high, end, unit = other, end_of_both, its_unit or unit
    # Without a herald nothing before the number compares it.
    if bound:
        compared = bound_of(text, before, start, end, known)
    else:
        compared = bound_behind(text, end, known) if more or end > stop or behind in _OR else ""
    if (more or end > stop) and (ordinal := _ORDINAL.match(text, end)):
        end = ordinal.end()
    return Value("number", start, end, low, high, unit, compared)


def _digit(text: str, at: int) -> int:
    while at < len(text) and not text[at].isdigit():
        at += 1
    return at


def _with_unit(text: str, end: int, number: float, unit: str, known: Notation) -> tuple[float, int, str]:
    start = end + text.startswith(" ", end)
    if known.glued and (glued := next((each for each in known.glued if text.startswith(each, start)), None)):  # 1800万
        number, end = number * known.magnitudes[glued], start + len(glued)
    word = _MAGNITUDE.match(text, end)
    name = word[1].casefold() if word else ""
    if word and name in known.magnitudes and (unit or name != "k" or word.start(1) == end):
        number, end = number * known.magnitudes[name], word.end(1)
    elif unit and (short := _SHORT_MAGNITUDE.match(text, end)):
        number, end = number * {"m": 1e6, "k": 1e3, "b": 1e9}[short[1][0].lower()], short.end()
    if not unit and (found := unit_at(text, end, known)):
        end, unit = found
    return number, end, unit
