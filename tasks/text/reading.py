"""A text, read once: its words and stems, which all that is asked of it shares."""

from functools import cache, lru_cache
from itertools import chain
from typing import Any

from tasks.text.language import ENGLISH, language
from tasks.text.tokens import kept_stems, split, stems, words, words_by_sentence

KEPT = 1 << 6  # readings that are kept of a language: those of a row


class Reading:
    """The words of a text in one language, and what is found of them when it is first asked for. Not to be changed."""

    __slots__ = ("code", "content", "held", "kept", "stems", "weighed", "words")
    words: list[str]
    stems: list[str]
    kept: list[str]  # the stem of each word, "" for a stop word
    content: list[str]  # those that are not "", in order
    held: frozenset[str]  # each of these once
    weighed: list[str]  # the content, and the stems of the stop words that support counts

    def __init__(self, said: list[str], code: str) -> None:
        self.words, self.code = said, code

    def __getattr__(self, name: str) -> Any:
        if name == "stems":
            self.stems = stems(self.words, self.code)
        elif name == "kept":
            self.kept = kept_stems(self.words, self.code)
        elif name == "content":
            self.content = list(filter(None, self.kept))
        elif name == "held":
            self.held = frozenset(self.content)
        elif name == "weighed":
            more = language(self.code).weighed
            self.weighed = (
                stems(filter(more.__contains__, self.words), self.code) + self.content if more else self.content
            )
        else:
            raise AttributeError(name)
        return object.__getattribute__(self, name)


class _Readings(dict[str, Reading]):
    """Readings by text; emptied when they are more than a row asks for."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __missing__(self, text: str) -> Reading:
        if len(self) >= KEPT:
            self.clear()
        self[text] = found = Reading(words(text, self.code), self.code)
        return found


@cache
def readings(code: str = ENGLISH) -> _Readings:
    """The texts of a language that are read, by the text; one that is not is read now."""
    return _Readings(code)


def read(text: str, code: str = ENGLISH) -> Reading:
    """A text, read once for all that ask."""
    return readings(code)[text]


def read_sentences(text: str, code: str = ENGLISH) -> list[str]:
    """The sentences of a text; what is found of their words on the way is kept, for those who ask of them next."""
    known, found = readings(code), split(text, code)
    for said, its in found:
        if its is not None and said not in known:
            known[said] = Reading(its, code)
    return [said for said, _ in found]


class Passage:
    """The words of each sentence of a passage, their stems, and all these stems one behind the other."""

    __slots__ = ("stems", "stems_by_sentence", "words_by_sentence")

    def __init__(self, text: str, code: str) -> None:
        self.words_by_sentence = words_by_sentence(text, code)
        self.stems = stems(chain.from_iterable(self.words_by_sentence), code)
        self.stems_by_sentence: list[list[str]] = []
        at = 0
        for said in self.words_by_sentence:
            self.stems_by_sentence.append(self.stems[at : (at := at + len(said))])


passage = lru_cache(maxsize=1 << 8)(Passage)  # the rows of a document share them; of 200 words, 10 kB each
