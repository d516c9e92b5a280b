"""Values in text, read in one place: numbers, quantities, ranges, money, dates, times, identifiers.

``1,450 rpm`` is ``1450rpm``, ``5 kW`` is ``5000 W``, ``3 May 2024`` is ``2024-05-03``, ``an hour and a half`` is ``90
minutes``; ``-20 °C``, ``> 5 bar`` and ``$500`` are not ``20 °C``, ``< 5 bar`` and ``€500``. Names of units and months
and the marks of numbers are CLDR's (Babel), by language; what a unit is worth is pint's.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property, lru_cache
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import numeric

from tasks.text.language import ENGLISH, language
from tasks.text.tokens import normalise, stem, words

_GLUED = re.compile("[\u0900-\u0dff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]")
CONVERTED = 5e-4  # relative: how exactly a converted value is told


class Value(NamedTuple):
    """A value and where it stands. A number has its amount in its own unit; of a range, the two ends."""

    kind: str  # number, date, time, name
    start: int
    end: int
    low: float = 0.0
    high: float = 0.0
    unit: str = ""  # as pint names it; percent; a currency's ISO 4217 code; "" for a bare number
    bound: str = ""  # <, <=, >, >=
    words: tuple[Any, ...] = ()  # (year, month, day); (minutes,); (identifier,)
    spelled: bool = False  # in words

    def amount(self) -> str:
        """The value in short, for people."""
        if self.kind != "number":
            return "-".join(map(str, filter(None, self.words)))
        ends = [f"{each:.12g}" for each in dict.fromkeys((self.low, self.high))]
        return "-".join(ends)


class _Table:
    """What is known of a language's values."""

    def __init__(self, code: str) -> None:
        data = _data()
        own = data["languages"].get(code, {})
        self.code = code
        self.decimal, self.group = (",", ".") if language(code).decimal == "," else (".", ",")
        self.day_first = code != ENGLISH
        self.magnitudes: dict[str, float] = {**own.get("magnitudes", {})}
        self.magnitudes |= {normalise(name): times for name, times in self.magnitudes.items()}
        self.glued = [each for each in self.magnitudes if _GLUED.search(each)]  # that no end of a word is looked for
        self.halves: dict[str, float] = own.get("halves", {})
        self.clock = own.get("clock", "\0")  # behind a time of the day
        self.articles = frozenset(own.get("articles", "").split())
        self.per = frozenset(own.get("per", "").split())
        self.to = frozenset(own.get("to", "-").split())
        to = "|".join(sorted(self.to))
        self.listing = frozenset(own.get("listing", "").split())  # a range only behind one of `opening`
        self.opening = tuple(own.get("opening", "").split())
        self.before: dict[str, str] = own.get("before", {})
        self.behind: dict[str, str] = own.get("behind", {})
        self.negations = frozenset(own.get("negations", "").split())
        self.number_words = language(code).numbers
        self.spelled = frozenset({*self.number_words.cardinals, *self.halves})
        self.range = re.compile(rf"\s*(?:[-–—]|({to})\b)\s*(?=[$€£¥]?\d)")
        self.joins = re.compile(rf"(?:[\s-]+|\s+(?:{to})\s+)")

    @cached_property
    def units(self) -> dict[str, str]:
        """Pint's name of a unit by its spelling; names in small letters, symbols as they are."""
        data, found = _data(), {}
        for locale in ("en_GB", "en", self.code):
            for name, patterns in _unit_patterns(locale).items():
                category, _, unit = name.partition("-")
                if category in data["categories"]:
                    for form in ("long", "short"):
                        for each in patterns.get(form, {}).values():
                            spelling = str(each).replace("{0}", "").strip() if isinstance(each, str) else ""
                            if len(spelling) > 2:
                                found[spelling.casefold()] = _pint_name(unit)
        for symbol, unit in data["symbols"].items():
            found[symbol] = unit
            found |= {prefix + symbol: name + unit for prefix, name in data["prefixes"].items()}
        spellings: dict[str, str] = data["spellings"]
        return found | spellings

    @cached_property
    def months(self) -> dict[str, int]:
        found = {}
        try:
            from babel import Locale

            for context in ("format", "stand-alone"):
                for width in ("wide", "abbreviated"):
                    for number, name in Locale.parse(self.code).months[context][width].items():
                        found[name.casefold().rstrip(".")] = number
        except Exception:  # a language that CLDR does not have
            return {}
        if self.code == ENGLISH:
            found["sept"] = 9
        return {name: number for name, number in found.items() if not name[:1].isdigit()}


@cache
def _table(code: str) -> _Table:
    return _Table(code)


@cache
def _data() -> dict[str, Any]:
    import yaml

    text = (Path(__file__).parent / "languages/units.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def _unit_patterns(locale: str) -> dict[str, Any]:
    from babel import Locale, UnknownLocaleError

    try:
        return dict(Locale.parse(locale)._data["unit_patterns"])
    except (UnknownLocaleError, ValueError):
        return {}


def _pint_name(unit: str) -> str:
    """``cubic-meter`` as ``meter**3``, ``kilometer-per-hour`` as ``kilometer/hour``."""
    unit = {"celsius": "degC", "fahrenheit": "degF", "generic": "degree", "tonne": "metric_ton"}.get(unit, unit)
    parts = []
    for part in unit.split("-per-"):
        power = {"square-": "**2", "cubic-": "**3"}.get(part[: part.find("-") + 1], "")
        parts.append((part[part.find("-") + 1 :] if power else part).replace("-", "_") + power)
    return "/".join(parts)


_CANDIDATE = re.compile(
    r"\d(?:"
    r"(?<!\w\d)(?P<iso>(?<=\d)\d{3}-\d{1,2}-\d{1,2}(?!\d))"
    r"|(?<!\w\d)(?P<date>\d?(?P<mark>[./-])\d{1,2}(?P=mark)(?:\d{4}|\d{2})(?![\d.,]*\d))"
    r"|(?<!\w\d)(?P<time>\d?:\d\d(?::\d\d)?(?!\d))"
    r"|(?P<number>(?:\d{0,2}(?:[  ]\d{3})+(?:[.,]\d+)?(?!\d)|\d*(?:[.,:'’]\d+)*)(?:[eE][-+]?\d+(?!\w))?)"
    r")"
)
_POWER = re.compile(r"\s?[×x·*]\s?10\^?([-−]?\d+)")
_POWER_OF_TEN = re.compile("(?<![\\d.,×x·*])(?<![×x·*] )10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)")  # as long as 1e6
_CARET = re.compile(r"\^(?:\{(\d+)\}|(\d+))")
_FRACTION = re.compile(r"(\d*)\s?([¼-¾⅐-⅞])")
_RAISED = re.compile("(?<=[^\\Wm10]|[.,])[⁰¹²³⁴⁵⁶⁷⁸⁹]|(?<=[^cdkmµ\\s]m)[⁰¹²³⁴⁵⁶⁷⁸⁹]")  # a note's number; not of m²
_CJK_DATE = re.compile(r"(\d{4})[年년]\s?(?:(\d{1,2})[月월]\s?(?:(\d{1,2})[日号號일])?)?")
_IDENTIFIER = re.compile(r"[\w.]*(?:-\w+)*")
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LETTER = rf"[^\W\d_{_SPACELESS}]"
_LEFT_NAME = re.compile(rf"{_LETTER}[\w.]*(?:[-‐‑–]\w*)?$|{_LETTER}+[-‐‑]$")
_UNIT = re.compile(r"[^\S\n]?-?(°\s?[CF]?|%|‰|[µμ]?[^\W\d_]+(?:/[^\W\d_]+)?[23]?)")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b|s\b")
_WORD = re.compile(r"[^\W\d_]+")
_CURRENCY = re.compile(r"(US\$|[$€£¥₹₽₺₩])\s?$|\b(USD|EUR|GBP|CHF|JPY|INR)\s$")
_SIGN = re.compile(r"(?<![\w)°%])([-−–])$|\bminus\s$", re.IGNORECASE)
_COMPARED = {"<": "<", ">": ">", "≤": "<=", "≥": ">=", "<=": "<=", ">=": ">="}
_MARK = re.compile(r"(<=|>=|[<>≤≥])\s*$")
_MONTH_BEHIND = re.compile(r"(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?([^\W\d_]+)\.?(?:,?\s+(?:de\s+)?(\d{4}))?")
_CLOCK = re.compile(r"(\d{1,2})\.(\d\d)")
_MERIDIEM = re.compile(r"\s?([ap])\.?\s?m\b\.?", re.IGNORECASE)


@lru_cache(maxsize=1 << 10)  # contexts repeat between rows, base and tuned
def read_values(text: str, code: str = ENGLISH) -> tuple[Value, ...]:
    """The values of a text, in order. Numbers in words are marked `spelled`."""
    table = _table(code)
    text = _prepared(text)
    found: list[Value] = []
    end = 0
    for match in _CANDIDATE.finditer(text):
        if match.start() < end:
            continue
        value = _read(text, match, table, end)
        if value is not None:
            found.append(value)
            end = value.end
    if not text.isascii() and (fractions := list(_FRACTION.finditer(text))):
        found = [each for each in found if not any(half.start() <= each.start < half.end() for half in fractions)]
        found += [_fraction(text, each, table) for each in fractions]
        found.sort(key=lambda value: value.start)
    if not table.spelled.isdisjoint(words(text, code)):
        taken = [(each.start, each.end) for each in found]
        found += [v for v in _spelled(text, table) if not any(s < v.end and v.start < e for s, e in taken)]
        found.sort(key=lambda value: value.start)
    return tuple(found)


def _fraction(text: str, match: re.Match[str], table: _Table) -> Value:
    number = float(match[1] or 0) + numeric(match[2])
    number, end, unit = _with_unit(text, match.end(), number, "", table)
    return Value("number", match.start(), end, number, number, unit)


def _prepared(text: str) -> str:
    """Text of the same length with plain digits and marks."""
    if text.isascii():
        return text
    text = _RAISED.sub(" ", _POWER_OF_TEN.sub(lambda match: f"1e{normalise(match[1])}", text))
    plain = normalise(text)
    if len(plain) != len(text):
        plain = "".join(each if len(each) == 1 else char for char in text for each in [normalise(char)])
    return plain.translate({0x2011: "-", 0x2010: "-", 0x2212: "-"})


def _read(text: str, match: re.Match[str], table: _Table, left: int) -> Value | None:
    start, end = match.span()
    before = text[max(left, start - 24) : start]
    if before and (before[-1].isalpha() or (before[-1] in "-._/=" and _LEFT_NAME.search(before[:-1] + before[-1]))):
        name = _LEFT_NAME.search(before)
        if name and (before[-1].isalnum() or before[-1] in "-_"):
            if name.group().rstrip("-").casefold() in _data()["currencies"]:
                pass
            else:
                behind = _IDENTIFIER.match(text, start)
                assert behind
                stop = behind.end()
                while text[stop - 1] in ".-":
                    stop -= 1
                said = text[start - len(name.group()) : stop].casefold().replace("–", "-")
                return Value("name", start - len(name.group()), stop, words=(said,))
    if dated := _CJK_DATE.match(text, start):
        year, month, day = (int(each or 0) for each in dated.groups())
        return Value("date", start, dated.end(), words=(year, month, day))
    if match["iso"]:
        year, month, day = map(int, match.group().split("-"))
        return _date(start, end, year, month, day)
    if match["date"]:
        one, two, year = map(int, re.split("[./-]", match.group()))
        day, month = (two, one) if (not table.day_first and match["mark"] == "/") else (one, two)
        if month > 12:
            day, month = month, day
        return _date(start, end, year + (2000 if year < 50 else 1900) * (year < 100), month, day)
    if match["time"]:
        hours, minutes = map(int, match.group().split(":")[:2])
        if hours < 25 and minutes < 60:
            if meridiem := _MERIDIEM.match(text, end):
                hours, end = hours % 12 + 12 * (meridiem[1] in "pP"), meridiem.end()
            return Value("time", start, end, words=(60 * hours + minutes,))
    said = match.group()
    if (behind := _CLOCK.fullmatch(said)) and text.startswith((table.clock, f" {table.clock}"), end):
        return Value("time", start, end, words=(60 * int(behind[1]) + int(behind[2]),))
    if ":" in said or (said.count(".") > 1 and not _grouped(said, ".")):
        return Value("name", start, end, words=(said,))
    number, sure = _number(said, table)
    if meridiem := (_MERIDIEM.match(text, end) if number <= 12 and sure else None):
        return Value("time", start, meridiem.end(), words=(int(60 * (number % 12 + 12 * (meridiem[1] in "pP"))),))
    if dated := _month_date(text, start, end, int(number), table):
        return dated
    return _quantity(text, start, end, number, table, left)


def _grouped(said: str, mark: str) -> bool:
    return re.fullmatch(rf"\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+", said) is not None


def _number(said: str, table: _Table) -> tuple[float, bool]:
    """The number, and whether it is a plain whole one."""
    if said.isdecimal():
        return float(said), True
    plain = re.sub(r"[  '’]", "", said)
    mantissa, _, exponent = plain.lower().partition("e")
    marks = [char for char in mantissa if char in ".,"]
    if len(set(marks)) == 2:
        mantissa = mantissa.replace(marks[0], "").replace(marks[-1], ".")
    elif marks:
        mark = marks[0]
        groups = len(marks) > 1 or (mark == table.group and _grouped(mantissa, mark) and mantissa[0] != "0")
        mantissa = mantissa.replace(mark, "" if groups else ".")
    return float(mantissa) * 10 ** int(exponent or 0), False


def _date(start: int, end: int, year: int, month: int, day: int) -> Value | None:
    return Value("date", start, end, words=(year, month, day)) if 0 < month < 13 and 0 < day < 32 else None


def _month_date(text: str, start: int, end: int, number: int, table: _Table) -> Value | None:
    """``3 May 2024``, ``May 3, 2024``, ``May 2024``, ``3 May``."""
    before = re.search(r"([^\W\d_]+)\.?\s+(?:the\s+)?$", text[max(0, start - 20) : start])
    named = table.months.get(before[1].casefold()) if before else None
    if before and named:
        begin = start - len(before.group())
        if number > 31:
            return Value("date", begin, end, words=(number, named, 0))
        rest = re.compile(r"(?:st|nd|rd|th)?(?:,?\s+(\d{4}))?\b").match(text, end)
        year = int(rest[1]) if rest and rest[1] else 0
        return Value("date", begin, rest.end() if rest and rest[1] else end, words=(year, named, number))
    after = re.compile(r"(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?([^\W\d_]+)\.?(?:,?\s+(?:de\s+)?(\d{4}))?").match(
        text, end
    )
    if after and 0 < number < 32 and (month := table.months.get(after[1].casefold())):
        return Value("date", start, after.end(), words=(int(after[2] or 0), month, number))
    return None


def _quantity(text: str, start: int, end: int, number: float, table: _Table, left: int) -> Value:
    """A number with all that belongs to it: sign, comparison, range, magnitude, unit, currency."""
    if number == 10 and (power := _CARET.match(text, end)):
        number, end = 10.0 ** int(power[1] or power[2]), power.end()
    elif power := _POWER.match(text, end):
        number, end = number * 10 ** int(power[1].replace("−", "-")), power.end()
    before = text[max(left, start - 30) : start]
    currency = _CURRENCY.search(before)
    unit = _data()["currencies"].get(currency[1] or currency[2], "") if currency else ""
    if currency:
        start, before = start - len(currency.group()), before[: currency.start()]
    if sign := _SIGN.search(before):
        number, start, before = -number, start - len(sign.group()), before[: sign.start()]
    number, end, unit = _with_unit(text, end, number, unit, table)
    low = high = number
    joint = table.range.match(text, end)
    second = _CANDIDATE.match(text, _digit(text, joint.end())) if joint else None
    if joint and second and second["number"] is not None:
        other, _ = _number(second.group(), table)
        other, stop, its_unit = _with_unit(text, second.end(), other, unit, table)
        opened = joint[1] not in table.listing or before.rstrip().endswith(table.opening)
        if other > abs(low) and opened and (not unit or unit == its_unit):
            high, end, unit = other, stop, its_unit or unit
    bound = _bound(text, before, start, end, table)
    if ordinal := _ORDINAL.match(text, end):
        end = ordinal.end()
    return Value("number", start, end, low, high, unit, bound)


def _digit(text: str, at: int) -> int:
    while at < len(text) and not text[at].isdigit():
        at += 1
    return at


def _with_unit(text: str, end: int, number: float, unit: str, table: _Table) -> tuple[float, int, str]:
    behind = end + text.startswith(" ", end)
    if glued := next((each for each in table.glued if text.startswith(each, behind)), None):  # 1800万
        number, end = number * table.magnitudes[glued], behind + len(glued)
    word = re.compile(r"[^\S\n]?([^\W\d_]+)\b\.?").match(text, end)
    if (
        word
        and (times := table.magnitudes.get(word[1].casefold()))
        and (unit or word[1].casefold() != "k" or word.start(1) == end)
    ):
        number, end = number * times, word.end(1)
    elif unit and (short := re.compile(r"(m|M|k|K|bn|B)\b").match(text, end)):
        number, end = number * {"m": 1e6, "k": 1e3, "b": 1e9}[short[1][0].lower()], short.end()
    if not unit and (found := unit_at(text, end, table)):
        end, unit = found
    return number, end, unit


def unit_at(text: str, at: int, table: _Table) -> tuple[int, str] | None:
    """The unit behind a number and where it ends: ``litres per minute``."""
    found = _unit(text, at, table)
    if found is None:
        return None
    end, unit = found
    per = re.compile(r"\s?/\s?|\s+([^\W\d_]+)\s+").match(text, end)
    if per and (per[1] is None or per[1].casefold() in table.per) and (under := _unit(text, per.end(), table)):
        return under[0], f"{unit}/{under[1]}"
    return end, unit


def _unit(text: str, at: int, table: _Table) -> tuple[int, str] | None:
    word = _UNIT.match(text, at)
    if not word or word.group() == "s":  # "the 1990s"
        return None
    said, end = word[1], word.end()
    second = re.compile(r"[ .-]([^\W\d_]+)").match(text, end)
    if second:
        both = f"{said} {second[1]}"
        if unit := table.units.get(both.casefold()) or table.units.get(both):
            return second.end(), unit
    unit = table.units.get(said) or (table.units.get(said.casefold()) if len(said) > 2 else None)
    unit = unit or _data()["currencies"].get(said)
    return (end, unit) if unit else None


def _bound(text: str, before: str, start: int, end: int, table: _Table) -> str:
    if mark := _MARK.search(before):
        return _COMPARED[mark[1]]
    said = before.rstrip().casefold()
    for phrase, bound in table.before.items():
        if said.endswith(phrase) and not said[: -len(phrase)][-1:].isalpha():
            ahead = text[max(0, start - 70) : start].casefold()
            ahead = re.split(r"[.;!?]\s", ahead)[-1].removesuffix(phrase)
            if phrase[:2] != "no" and not table.negations.isdisjoint(_WORD.findall(ahead)):
                return {">": "<=", ">=": "<", "<": ">=", "<=": ">"}[bound]
            return bound
    behind = re.compile(r"\s+(?:or|oder)\s+([^\W\d_]+)").match(text, end)
    return table.behind.get(behind[1].casefold(), "") if behind else ""


def _spelled(text: str, table: _Table) -> Iterator[Value]:
    """Numbers in words, with their units; ``an hour and a half``."""
    known, tokens = table.number_words.cardinals, list(_WORD.finditer(text))
    at = 0
    while at < len(tokens):
        word = tokens[at].group().casefold()
        half = _halves(text, tokens, at, table) if word in table.articles or word in table.halves else None
        if half:
            yield half
            at = next((i for i, token in enumerate(tokens) if token.start() >= half.end), len(tokens))
            continue
        if word not in known:
            at += 1
            continue
        first, total, current, last = at, 0.0, float(known[word]), known[word]
        at += 1
        while at < len(tokens) and table.joins.fullmatch(text, tokens[at - 1].end(), tokens[at].start()):
            word = tokens[at].group().casefold()
            if word in table.to and at + 1 < len(tokens) and last == 0 and tokens[at + 1].group().casefold() in known:
                at += 1  # "two hundred and five"
                continue
            if word in table.magnitudes and word.isalpha() and len(word) > 2:
                times = table.magnitudes[word]
                current, total = (current * times, total) if times == 100 else (0, total + (current or 1) * times)
            elif word in known and _continues(current, last, known[word]):
                joined_year = 13 <= current <= 99 and known[word] >= 10 and not 20 <= last <= 90
                current = current * 100 + known[word] if joined_year else current + known[word]
            else:
                break
            last = known.get(word, 0)
            at += 1
        number, start, end = total + current, tokens[first].start(), tokens[at - 1].end()
        more = re.compile(r"\s+and\s+a\s+(half|quarter)\b").match(text, end)
        if more and more[1] in table.halves:
            number, end = number + table.halves[more[1]], more.end()
        unit = ""
        if found := unit_at(text, end, table):
            end, unit = found
        bound = _bound(text, text[max(0, start - 30) : start], start, end, table)
        yield Value("number", start, end, number, number, unit, bound, spelled=True)


def _continues(current: float, last: float, number: int) -> bool:
    if last == 0:
        return True  # behind a magnitude
    return (20 <= last <= 90 and number < 10) or (13 <= current <= 20 and 10 <= number <= 99)


def _halves(text: str, tokens: list[re.Match[str]], at: int, table: _Table) -> Value | None:
    """``half an hour``, ``an hour and a half``."""
    first = tokens[at].group().casefold()
    if first in table.halves:
        unit_start = re.compile(r"\s+(?:of\s+)?(?:an?\s+)?").match(text, tokens[at].end())
        found = unit_at(text, unit_start.end(), table) if unit_start else None
        number, start = table.halves[first], tokens[at].start()
        if found and at and tokens[at - 1].group().casefold() in table.articles:
            start = tokens[at - 1].start()
        return Value("number", start, found[0], number, number, found[1], spelled=True) if found else None
    found = unit_at(text, tokens[at].end(), table)
    if not found:
        return None
    more = re.compile(r"\s+and\s+(?:a\s+)?(half|quarter)\b").match(text, found[0])
    number = 1 + (table.halves.get(more[1], 0) if more else 0)
    if number == 1:
        return None
    return Value("number", tokens[at].start(), more.end() if more else found[0], number, number, found[1], spelled=True)


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@cache
def _worth(unit: str) -> tuple[str, float, float] | None:
    """Dimension, factor and offset to base units; None for what pint does not know."""
    try:
        one, none = (_registry().Quantity(each, unit).to_root_units() for each in (1.0, 0.0))
    except Exception:
        return None
    return str(one.units), float(one.magnitude - none.magnitude), float(none.magnitude)


def same(one: Value, other: Value, *, strict: bool = False) -> bool:
    """Whether two values are equal. Unless `strict`, one may leave out the unit, the bound, the year or the range."""
    if one.kind != other.kind:
        return not strict and _same_year(one, other)
    if one.kind == "date":
        return all(a == b or not (a and b) and not strict for a, b in zip(one.words, other.words, strict=True))
    if one.kind != "number":
        return one.words == other.words
    if one.bound != other.bound and (strict or (one.bound and other.bound and one.bound[0] != other.bound[0])):
        return False
    ends = [(one.low, other.low), (one.high, other.high)]
    if _equal_ends(ends, one.unit, other.unit, strict):
        return True
    if strict:
        return False
    if one.low == one.high:
        return any(_equal_ends([(one.low, end)], one.unit, other.unit, False) for end in {other.low, other.high})
    return False


def _same_year(one: Value, other: Value) -> bool:
    date, number = (one, other) if one.kind == "date" else (other, one)
    if date.kind != "date" or number.kind != "number" or number.unit:
        return False
    return number.low in (date.words[0], date.words[2]) and number.low > 0


def _equal_ends(ends: Sequence[tuple[float, float]], one: str, other: str, strict: bool) -> bool:
    comparable = one == other or (not strict and not (one and other))
    if comparable and all(isclose(a, b, rel_tol=1e-9) for a, b in ends):
        return True
    if "percent" in (one, other) and "" in (one, other):
        share = [(a / 100, b) if one else (a, b / 100) for a, b in ends]
        return all(isclose(a, b, rel_tol=1e-9) for a, b in share)
    if one == other or not (one and other):
        return False
    if {one, other} <= {"degree", "degC", "degF"} and "degree" in (one, other):
        return not strict and all(isclose(a, b, rel_tol=1e-9) for a, b in ends)
    if len(one) == 3 and one.isupper() or len(other) == 3 and other.isupper():
        return False
    first, second = _worth(one), _worth(other)
    if first is None or second is None or first[0] != second[0]:
        return False
    worth = [(a * first[1] + first[2], b * second[1] + second[2]) for a, b in ends]
    return all(isclose(a, b, rel_tol=CONVERTED) for a, b in worth)


def commensurable(one: Value, other: Value) -> bool:
    """Whether two values are of one kind, so that one could stand for the other: two pressures, two dates."""
    if one.kind != other.kind:
        return False
    if one.kind != "number" or one.unit == other.unit:
        return True
    if not (one.unit and other.unit):
        return False
    currencies = [len(unit) == 3 and unit.isupper() for unit in (one.unit, other.unit)]
    if any(currencies):
        return all(currencies)
    first, second = _worth(one.unit), _worth(other.unit)
    return first is not None and second is not None and first[0] == second[0]


def stated(value: Value, others: Sequence[Value], *, strict: bool = False) -> bool:
    """Whether one of the others is the value."""
    return any(same(value, other, strict=strict) for other in others)


def aligned(text: str, other: str, code: str = ENGLISH, *, strict: bool = True) -> str:
    """A text with each value that `other` spells differently in the spelling of `other`."""
    mine = read_values(text, code)
    if not mine or text == other:
        return text
    theirs = read_values(other, code)
    if not theirs:
        return text
    parts, end = [], 0
    for value in mine:
        spelling = text[value.start : value.end]
        twin = next((each for each in theirs if same(value, each, strict=strict)), None)
        if twin and other[twin.start : twin.end].casefold() != spelling.casefold():
            parts += [text[end : value.start], other[twin.start : twin.end]]
            end = value.end
    return "".join([*parts, text[end:]]) if parts else text


_TERM = re.compile(r"(?<![\w)])-(?=\d)|\d+(?:[.,:]\d+)*|[^\W\d_]+|[$€£¥₹%<>≤≥]")
_ARTICLES = frozenset({"a", "an", "the"})


def terms(text: str, code: str = ENGLISH, *, articles: bool = True) -> list[str]:
    """Words and numbers as they are compared: case-folded, numbers in one spelling with their sign, currency marks.

    Without `articles` an article counts only where nothing follows it, as in "vitamin A".
    """
    found: list[str] = []
    table, sign = _table(code), ""
    prepared = _prepared(text)
    matches = list(_TERM.finditer(prepared))
    for at, match in enumerate(matches):
        said = match.group()
        if said == "-":
            sign = "-"
        elif said[0].isdigit():
            amount = said if ":" in said or said.count(".") > 1 else f"{_number(said, table)[0]:.12g}"
            found.append(sign + amount)
            sign = ""
        elif said in "≤≥":
            found.append(_COMPARED[said])
        else:
            word = said.casefold()
            if not articles and word in _ARTICLES and at + 1 < len(matches) and (said.islower() or at == 0):
                continue
            if len(word) > 1 and not word.isascii() and language(code).segmentation == "characters":
                found += words(word, code)
            else:
                found.append(word)
    return found


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
        return all(_found(each, said) for each in wanted)
    needle = [stem(each, code) for each in _numbered(value, code)]
    if not needle:
        return value.strip().casefold() in text.casefold()
    hay = f" {' '.join(stem(each, code) for each in _numbered(aligned(text, value, code), code))} "
    if f" {' '.join(needle)} " in hay:
        return True
    items = [" ".join(stem(word, code) for word in _numbered(item, code)) for item in list_items(value)]
    return len(items) > 1 and all(item and f" {item} " in hay for item in items)


def _numbered(text: str, code: str) -> list[str]:
    """Terms with numbers in words as numbers."""
    known = language(code).numbers.cardinals
    return [str(known[each]) if each in known else each for each in terms(text, code)]


def _is_all(text: str, found: Sequence[Value]) -> bool:
    """Whether a text is its values and no more."""
    rest, end = [], 0
    for value in found:
        rest.append(text[end : value.start])
        end = value.end
    return not any(map(str.isalnum, "".join([*rest, text[end:]])))


def _found(value: Value, said: Sequence[Value]) -> bool:
    for other in said:
        if value.unit and not other.unit and other.kind == "number":
            continue
        if value.bound != other.bound and value.bound:
            continue
        if same(value, other):
            return True
    return False


_ITEMS = re.compile(r"\s*[,;]\s*(?:(?:and|or|und|oder|et|ou|y|o)\s+)?|\s+(?:and|or|und|oder|et|y)\s+|\n\s*[-*•]?\s*")


def list_items(text: str) -> list[str]:
    """The items of a list: ``red, green and blue``."""
    return [item.strip(" .-*•") for item in _ITEMS.split(text.strip().rstrip(".")) if item.strip(" .-*•")]


_TO_VALUE = frozenset(["a", "an", "the", "at", "about", "exactly", "only", "just", "approximately", "around", "of"])


def negated_before(text: str, at: int, code: str = ENGLISH) -> bool:
    """Whether a negation stands directly before this place: ``not 16 bar``, ``rather than at 16 bar``."""
    before = [each.casefold() for each in _WORD.findall(text[max(0, at - 40) : at])][-4:]
    while before and before[-1] in _TO_VALUE:
        before.pop()
    if not before:
        return False
    if before[-2:] in (["rather", "than"], ["instead", "of"]) or before[-1:] == ["instead"]:
        return True
    return before[-1] in _table(code).negations or before[-2:] in (["isn", "t"], ["wasn", "t"], ["aren", "t"])
