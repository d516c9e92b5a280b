"""What the text functions know of a language: one data file each in `languages/`, read once and checked."""

import re
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, model_validator

LANGUAGES = ("en",)
LANGUAGE_FILES = tuple(f"tasks/text/languages/{code}.yaml" for code in LANGUAGES)  # resources of every step that reads

WordList = Annotated[tuple[str, ...], BeforeValidator(str.split)]
WordSet = Annotated[frozenset[str], BeforeValidator(str.split)]
_PART = re.compile(r"\{([a-z_]+)(?: (\d+))?\}")


class _Data(BaseModel, frozen=True, extra="forbid"):
    """Part of a language file: an unknown or missing field is an error that names it."""


class NumberWords(_Data):
    ones: WordList  # 0 to 19
    tens: WordList  # 20, 30 … 90
    ordinals: WordList  # from 0
    others: dict[str, int]

    @cached_property
    def cardinals(self) -> dict[str, int]:
        return dict(zip(self.ones, range(20), strict=True)) | dict(zip(self.tens, range(20, 100, 10), strict=True))

    @cached_property
    def all(self) -> dict[str, int]:
        return self.cardinals | {word: value for value, word in enumerate(self.ordinals)} | self.others

    @cached_property
    def ten(self) -> frozenset[str]:
        return frozenset(self.tens)

    @cached_property
    def unit(self) -> re.Pattern[str]:
        """What follows a ten in "twenty-one" or "twenty one"."""
        return re.compile(rf"[\s-]+({'|'.join(self.ones[1:10])})\b")


class PassageNames(_Data):
    """How passages are called in citations, as patterns."""

    marked: str  # in "[passage 2]"
    numbered: str  # in front of a passage: "Document 2: …"


class Wording(_Data):
    """One way of saying that the passages hold no answer."""

    needs: WordSet  # names of word groups; the pattern matches only where a word of each stands
    pattern: str
    of_the_world: bool = False  # said of the passages or of the world: only a context can tell which


class RefusalWords(_Data):
    """How refusals are worded. All but `label`, `turn`, `frame`, `quoted` and titles see text in lower case.

    Long patterns stay text, which `re` compiles at first use and keeps: all of them take 40 ms.
    """

    parts: dict[str, str]  # of other patterns, by the name that stands for them in braces
    label: re.Pattern[str]  # in front of an answer: "Answer: …"
    opening: str  # says nothing on the question itself, so that a refusal may still follow
    about_the_source: str  # the same, about the passages
    tells: re.Pattern[str]  # reports what the passages say, which may be the answer
    frame: str  # stands before a claim: "According to the passage, "
    courtesy: str  # stands behind a refusal and claims nothing
    turn: re.Pattern[str]  # separates a clause that begins with "but" or the like
    turned: re.Pattern[str]  # makes an aside behind a refusal a claim
    concession: re.Pattern[str]  # "Although …, " before the main clause
    conjunction: re.Pattern[str]  # joins a refusal to something said before
    wish: re.Pattern[str]
    conditional: re.Pattern[str]  # sentences that never refuse
    aside: re.Pattern[str]  # ", however,"
    quoted: re.Pattern[str]  # somebody else's words
    title: re.Pattern[str]  # in quotes
    first_person_title: re.Pattern[str]
    pronoun: re.Pattern[str]  # the passages, named just before
    pronouns: WordSet  # words that `pronoun` begins with
    pronoun_stands_for: str
    quotation_stands_for: str
    speaker: str
    negations: WordSet
    groups: dict[str, WordSet]  # words by which sentences are selected for patterns
    wordings: dict[str, Wording]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: dict[str, Any]) -> Any:
        """Join the lines of patterns and fill in their parts."""

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


class Language(_Data):
    stemmer: str  # a Snowball algorithm of PyStemmer
    stop_words: WordSet  # case-folded
    short_forms: WordSet  # a full stop behind them ends no sentence
    numbers: NumberWords
    citations: PassageNames
    refusal: RefusalWords

    @cached_property
    def short_form(self) -> re.Pattern[str]:
        """A list marker, a title, an initial or a short form at the end: a capital may stand behind it."""
        forms = "|".join(sorted(self.short_forms))
        return re.compile(rf"(?:^|\n)\s*\(?\d{{1,2}}$|(?:^|[\s(])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]|{forms})$")


def language_digests() -> list[str]:
    """SHA-256 of each of `LANGUAGE_FILES`: what a part of an earlier artifact must have been made with."""
    folder = Path(__file__).parent / "languages"
    return [sha256((folder / f"{code}.yaml").read_bytes()).hexdigest() for code in LANGUAGES]


@cache
def language(code: str = "en") -> Language:
    """The language with this ISO 639 code. It takes 15 ms once, so it is not loaded on import."""
    import yaml

    text = (Path(__file__).parent / "languages" / f"{code}.yaml").read_text(encoding="utf-8")
    return Language.model_validate(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
