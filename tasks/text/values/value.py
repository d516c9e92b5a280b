"""A value as it is read, and what a language's notation of values is."""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH, language
from tasks.text.tokens import UNSPACED, normalise

ALPHABETIC = pattern(r"[^\W\d_]+")
_GLUED = pattern(f"[\u0900-\u0dff{UNSPACED}]")
CURRENCY_MARKS = "$€£¥₹₽₺₩"


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
    digits: str = ""  # of a number with a point, or a 0 in front
    named: bool = False  # the number is a name, so that its digits count: version 3.10

    def amount(self) -> str:
        """The value in short, for people."""
        if self.kind != "number":
            return "-".join(map(str, filter(None, self.words)))
        return "-".join([f"{each:.12g}" for each in dict.fromkeys((self.low, self.high))])


class Notation:
    """How a language writes values."""

    def __init__(self, code: str) -> None:
        own = data()["languages"].get(code, {})
        self.code = code
        self.decimal, self.group = (",", ".") if language(code).decimal == "," else (".", ",")
        self.day_first = code != ENGLISH
        magnitudes: dict[str, float] = own.get("magnitudes", {})
        self.magnitudes = magnitudes | {normalise(name): times for name, times in magnitudes.items()}
        self.glued = tuple(each for each in self.magnitudes if _GLUED.search(each))  # no end of a word is looked for
        clock = own.get("clock", "\0")
        self.clock: tuple[str, str] = (clock, f" {clock}")  # behind a time of the day
        self.halves: dict[str, float] = own.get("halves", {})
        self.articles = frozenset(own.get("articles", "").split())
        self.per = frozenset(own.get("per", "").split())
        self.to = frozenset(own.get("to", "-").split())
        self.naming = frozenset(own.get("naming", "").split())
        self.alternatives = frozenset(own.get("or", "").split())
        self.listing = frozenset(own.get("listing", "").split())  # a range only behind one of `opening`
        self.opening = tuple(own.get("opening", "").split())
        self.bounds: dict[str, list[tuple[str, str]]] = {}  # by their last word: those that it may end
        for phrase, bound in own.get("before", {}).items():
            self.bounds.setdefault(phrase.split()[-1], []).append((phrase, bound))
        self.behind: dict[str, str] = own.get("behind", {})
        self.negations = frozenset(own.get("negations", "").split())
        self.numbers = language(code).numbers.cardinals
        self.dozens = frozenset(each for each in magnitudes if len(each) > 3)  # "a million"
        self.spelled = frozenset({*self.numbers, *self.halves, *self.dozens})
        to = "|".join(sorted(self.to))
        self.range = re.compile(rf"\s*(?:[-–—]|({to})\b)\s*(?=[{CURRENCY_MARKS}]?\d)")

    @cached_property
    def heralds(self) -> frozenset[str]:
        """Words that change the number behind them."""
        return frozenset([*self.bounds, *self.months, *map(str.casefold, data()["currencies"]), "minus", "the"])

    @cached_property
    def paid(self) -> frozenset[str]:
        """What a currency before a number ends with, case-folded."""
        return frozenset([*CURRENCY_MARKS, *map(str.casefold, filter(str.isalpha, data()["currencies"]))])

    @cached_property
    def compared(self) -> frozenset[str]:
        """What a comparison before a number ends with."""
        return frozenset([*self.bounds, *"<>=≤≥"])

    @cached_property
    def dated(self) -> frozenset[str]:
        """What may stand beside the day or year of a date."""
        return frozenset([*self.months, "the", "of", "de", ".", "glued"])

    @cached_property
    def measured(self) -> frozenset[str]:
        """Words that multiply or measure the number before them: magnitudes, the first word of each unit."""
        names = [found[0] for each in (*self.units, *data()["currencies"]) if (found := ALPHABETIC.findall(each))]
        return frozenset(map(str.casefold, [*self.magnitudes, *names]))

    @cached_property
    def followers(self) -> frozenset[str]:
        """Words that may belong to the number before them; but `to`."""
        return self.measured.union(["of", "de", "or", "oder", "x", "a", "p", "am", "pm"], self.months)

    @cached_property
    def units(self) -> dict[str, str]:
        """Pint's name of a unit by its spelling; names in small letters, symbols as they are."""
        known, found = data(), {}
        for locale in ("en_GB", "en", self.code):
            for name, patterns in _unit_patterns(locale).items():
                category, _, unit = name.partition("-")
                if category in known["categories"]:
                    for form in ("long", "short"):
                        for each in patterns.get(form, {}).values():
                            spelling = str(each).replace("{0}", "").strip() if isinstance(each, str) else ""
                            if len(spelling) > 2:
                                found[spelling.casefold()] = _pint_name(unit)
        for symbol, unit in known["symbols"].items():
            found[symbol] = unit
            found |= {prefix + symbol: name + unit for prefix, name in known["prefixes"].items()}
        spellings: dict[str, str] = known["spellings"]
        return found | spellings

    @cached_property
    def months(self) -> dict[str, int]:
        from babel import Locale, UnknownLocaleError

        try:
            months = Locale.parse(self.code).months
        except (UnknownLocaleError, ValueError):  # a language that CLDR does not have
            return {}
        found = {
            name.casefold().rstrip("."): number
            for context in ("format", "stand-alone")
            for width in ("wide", "abbreviated")
            for number, name in months[context][width].items()
        }
        if self.code == ENGLISH:
            found["sept"] = 9
        return {name: number for name, number in found.items() if not name[:1].isdigit()}


@cache
def notation(code: str) -> Notation:
    return Notation(code)


@cache
def data() -> dict[str, Any]:
    """What `languages/units.yaml` holds."""
    import yaml

    text = (Path(__file__).parents[1] / "languages/units.yaml").read_text(encoding="utf-8")
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
    unit = unit.removesuffix("-person")  # years of age
    unit = {"celsius": "degC", "fahrenheit": "degF", "generic": "degree", "tonne": "metric_ton"}.get(unit, unit)
    parts = []
    for part in unit.split("-per-"):
        power = {"square-": "**2", "cubic-": "**3"}.get(part[: part.find("-") + 1], "")
        parts.append((part[part.find("-") + 1 :] if power else part).replace("-", "_") + power)
    return "/".join(parts)
