"""What the text functions know of a language: one data file each in `languages/`, read once and checked.

Functions take the ISO 639-1 code of a text's language. A code without a file has a neutral profile: no stemmer, no stop
words, no refusal wordings, `validated` False.
"""

import re
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, model_validator

from tasks.text.cached import pattern

ENGLISH = "en"
AUTO = "auto"  # in place of a code: told from the text
LANGUAGES = (
    "ar", "cs", "de", "el", "en", "es", "fr", "he", "hi", "id", "it", "ja",
    "ko", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
LANGUAGE_FILES = tuple(  # resources of every step that reads
    f"tasks/text/languages/{name}.yaml" for name in (*LANGUAGES, "refusals", "units")
)

SOME = r"[^.!?;。！？؟।]{0,90}?"  # the part of patterns that stands for a few words
NEVER = re.compile(r"(?!)")
TEXT_LIBRARIES = ("Babel", "Pint", "py3langid", "PyStemmer", "regex", "sentencex")  # what text is read with
WordList = Annotated[tuple[str, ...], BeforeValidator(str.split)]
WordSet = Annotated[frozenset[str], BeforeValidator(str.split)]
_PART = pattern(r"\{([a-z_]+)(?: (\d+))?\}")


class NumberWords(BaseModel, frozen=True, extra="forbid"):
    """Numbers in words, case-folded; where the words are written apart, only their parts."""

    ones: WordList = ()  # 0 to 19
    tens: WordList = ()  # 20, 30 … 90
    ordinals: WordList = ()  # from 0
    others: dict[str, int] = {}  # other forms: of a gender, a case; twice; dozen
    joined: str = ""  # one word of a ten and a unit: "{unit}und{ten}"

    @cached_property
    def cardinals(self) -> dict[str, int]:
        found = dict(zip(self.ones, range(20), strict=False)) | dict(zip(self.tens, range(20, 100, 10), strict=False))
        if self.joined:
            for number, ten in enumerate(self.tens, 2):
                for unit, word in enumerate(self.ones[1:10], 1):
                    found[self.joined.format(ten=ten, unit=word)] = 10 * number + unit
        return found

    @cached_property
    def all(self) -> dict[str, int]:
        return self.cardinals | {word: value for value, word in enumerate(self.ordinals)} | self.others

    @cached_property
    def ten(self) -> frozenset[str]:
        return frozenset(self.tens)

    @cached_property
    def unit(self) -> re.Pattern[str]:
        """What follows a ten in "twenty-one" or "twenty one"."""
        return re.compile(rf"[\s-]+({'|'.join(self.ones[1:10])})\b") if self.ones else NEVER


class Affixes(BaseModel, frozen=True, extra="forbid"):
    """What a light stemmer takes off, the longest first, as long as `least` characters stay; for want of Snowball's."""

    prefixes: WordSet = frozenset()
    suffixes: WordSet = frozenset()
    least: int = 3


class PassageNames(BaseModel, frozen=True, extra="forbid"):
    """How passages are called in citations, as patterns."""

    marked: str = "passage"  # in "[passage 2]"
    numbered: str = "passage"  # in front of a passage: "Document 2: …"


class Wording(BaseModel, frozen=True, extra="forbid"):
    """One way of saying that the passages hold no answer."""

    needs: WordSet = frozenset()  # names of word groups; the pattern matches only where a word of each stands
    pattern: str
    of_the_world: bool = False  # said of the passages or of the world: only a context can tell which


class RefusalWords(BaseModel, frozen=True, extra="forbid"):
    """How refusals are worded. All but `label`, `turn`, `frame`, `quoted` and titles see text in lower case.

    Long patterns stay text, which `re` compiles at first use and keeps: all of them take 40 ms.
    """

    parts: dict[str, str] = {}  # of other patterns, by the name that stands for them in braces
    label: re.Pattern[str] = NEVER  # in front of an answer: "Answer: …"
    opening: str = "(?!)"  # says nothing on the question itself, so that a refusal may still follow
    about_the_source: str = "(?!)"  # the same, about the passages
    tells: re.Pattern[str] = NEVER  # reports what the passages say, which may be the answer
    frame: str = "(?!)"  # stands before a claim: "According to the passage, "
    according: str = "(?!)"  # "according to the passage, ": what follows is the passage's, unless it refuses by itself
    courtesy: str = "(?!)"  # stands behind a refusal and claims nothing
    turn: re.Pattern[str] = NEVER  # separates a clause that begins with "but" or the like
    turned: re.Pattern[str] = NEVER  # makes an aside behind a refusal a claim
    concession: re.Pattern[str] = NEVER  # "Although …, " before the main clause
    conjunction: re.Pattern[str] = NEVER  # joins a refusal to something said before
    wish: re.Pattern[str] = NEVER
    conditional: re.Pattern[str] = NEVER  # sentences that never refuse
    deeds: re.Pattern[str] = NEVER  # the same: of what is done with information, or owed
    aside: re.Pattern[str] = NEVER  # ", however,"
    quoted: re.Pattern[str] = NEVER  # somebody else's words
    title: re.Pattern[str] = NEVER  # in quotes
    first_person_title: re.Pattern[str] = NEVER
    pronoun: re.Pattern[str] = NEVER  # the passages, named just before
    pronouns: WordSet = frozenset()  # words that `pronoun` begins with
    pronoun_stands_for: str = ""
    quotation_stands_for: str = "_"
    speaker: str = ""
    negations: WordSet = frozenset()
    groups: dict[str, WordSet] = {}  # words by which sentences are selected for patterns
    wordings: dict[str, Wording] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: dict[str, Any]) -> Any:
        """Join the lines of patterns and fill in their parts."""

        data = {"parts": {}} | data
        data["parts"] = {"some": SOME} | data["parts"]
        data = {"wish": data.get("opening", "(?!)")} | data  # "Sorry, but …"

        def part(match: re.Match[str]) -> str:
            name, count = match.groups()
            return rf"(?:[\w'/-]+,? ){{0,{count}}}?" if name == "gap" else str(filled(data["parts"][name]))

        def filled(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: filled(each) for name, each in value.items()}
            return _PART.sub(part, value.replace("\n", "")) if isinstance(value, str) else value

        return filled(data)

    @cached_property
    def cues(self) -> frozenset[str]:
        """Words of which every refusal holds one."""
        return frozenset().union(*self.groups.values())

    @cached_property
    def of_the_world(self) -> frozenset[str]:
        return frozenset(each.pattern for each in self.wordings.values() if each.of_the_world)


class ClaimWords(BaseModel, frozen=True, extra="forbid"):
    """How an answer is worded, for checks of its claims beside their support by words."""

    lead: re.Pattern[str] = NEVER  # a sentence in front that claims nothing: "Sure! Here is what it says:"
    # ", but no price", "The sheet names no price.", "Prices are not listed.": the last group is what is absent, of
    # `no` each word; `source` or `who` does not say it
    absence: re.Pattern[str] = NEVER
    negations: WordSet = frozenset()  # beside those of `refusal`
    affirmed: re.Pattern[str] = NEVER  # a negation that denies nothing: "not quite"
    sums: WordSet = frozenset()  # say that a number is added up from others
    rewording: re.Pattern[str] = NEVER  # words that mostly only reword, by their endings too


class Language(BaseModel, frozen=True, extra="forbid"):
    code: str = ""  # ISO 639-1
    name: str = ""  # in English
    validated: bool = True  # measured on cases of its own; else the report says so
    segmentation: Literal["words", "characters"] = "words"  # characters: a script without spaces
    stemmer: str | None = None  # a Snowball algorithm of PyStemmer
    affixes: Affixes | None = None
    floor: float = 0.6  # no row is rejected for missing words that holds this share of them, other forms or not
    folded: dict[str, str] = {}  # characters, and what they are read as
    stop_words: WordSet = frozenset()  # case-folded
    weighed: WordSet = frozenset()  # stop words that support by a context counts all the same
    articles: WordSet = frozenset()  # that do not count where an answer is compared with the right one
    nouns_capitalised: bool = False  # so that a capital alone makes no name
    name_before: WordSet = frozenset()  # words that a capital stands behind in a name all the same: "built by Halvard"
    short_forms: WordSet = frozenset()  # a full stop behind them ends no sentence; beside those of sentencex
    numbers: NumberWords = NumberWords()
    yes: WordSet = frozenset()
    no: WordSet = frozenset()
    courtesies: tuple[str, ...] = ()  # phrases around an answer that claim nothing
    claims: ClaimWords = ClaimWords()
    citations: PassageNames = PassageNames()
    instruction: str = ""  # to the model, before the refusal sentence
    refusal_sentence: str = ""
    refusal: RefusalWords = RefusalWords()

    @model_validator(mode="before")
    @classmethod
    def _folded(cls, data: dict[str, Any]) -> Any:
        """Words and patterns as `tasks.text.tokens.fold` makes texts."""
        letters = str.maketrans({"ß": "ss", "ς": "σ"} | data.get("folded", {}))

        def folded(value: Any) -> Any:
            if isinstance(value, dict):
                return {folded(key): folded(each) for key, each in value.items()}
            return value.translate(letters) if isinstance(value, str) else value

        words = ("stop_words", "weighed", "articles", "name_before", "yes", "no", "numbers", "refusal")
        return data | {name: folded(data[name]) for name in words if name in data}

    @cached_property
    def decimal(self) -> str:
        """The mark before a fraction, by CLDR."""
        from babel.numbers import get_decimal_symbol

        return get_decimal_symbol(self.code)

    @cached_property
    def group(self) -> str:
        """The mark between thousands, by CLDR."""
        from babel.numbers import get_group_symbol

        return get_group_symbol(self.code)

    @cached_property
    def short_form(self) -> re.Pattern[str]:
        """A list marker, a title, an initial or a short form at the end: a capital may stand behind it."""
        forms = "|".join(sorted(self.short_forms))
        return re.compile(rf"(?:^|\n)\s*\(?\d{{1,2}}$|(?:^|[\s(])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|{forms})$")


def refusal_sentence(code: str, configured: str | None = None) -> str:
    """The sentence that refuses: the configured one, else the language's own, else the English one."""
    return configured or language(code).refusal_sentence or language().refusal_sentence


def instruction(code: str) -> str:
    """What a model is told to do, before the refusal sentence; in English where the language has no words for it."""
    return language(code).instruction or language().instruction


def language_digests() -> list[str]:
    """SHA-256 of each of `LANGUAGE_FILES`: what a part of an earlier artifact must have been made with."""
    folder = Path(__file__).parent / "languages"
    return [sha256((folder / Path(name).name).read_bytes()).hexdigest() for name in LANGUAGE_FILES]


@cache
def language(code: str = ENGLISH) -> Language:
    """The language with this ISO 639-1 code, or the neutral profile. It takes 15 ms once: not loaded on import."""
    if code not in LANGUAGES:
        return Language(code=code, name=code, validated=False)
    data = _read(code)
    if code != ENGLISH:
        data["refusal"] = _built(data.get("refusal", {}), _read("refusals"))
    return Language.model_validate(data | {"code": code})


def _built(own: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A language's refusals with those of `refusals.yaml` whose parts it names."""
    parts = shared["parts"] | own.get("parts", {})
    fitting = [
        name
        for name, each in {"deeds": {"pattern": shared["deeds"]}, **shared["wordings"]}.items()
        if {part for part, _ in _PART.findall(each["pattern"])} <= {"some", "gap", *parts}
    ]
    wordings = {name: each for name, each in shared["wordings"].items() if name in fitting} | own.get("wordings", {})
    deeds = {"deeds": shared["deeds"]} if "deeds" in fitting else {}
    return deeds | own | {"parts": parts, "wordings": wordings}


def _read(name: str) -> dict[str, Any]:
    import yaml

    text = (Path(__file__).parent / "languages" / f"{name}.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return data
