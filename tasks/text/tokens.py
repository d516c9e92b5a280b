"""Words, stems, sentences and names of a text."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

from Stemmer import Stemmer

from tasks.text.language import language

_WORD = re.compile(r"[^\W_]+")
# The same for ASCII, in 40 % of the time: letters in small, blanks for all that is neither letter nor digit.
_ASCII = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)).lower().ljust(256)
_SENTENCE_END = re.compile(  # one character class in front, so that the engine skips to it: 4 times as fast
    r"[.!?\n](?:(?<!\n)[.!?]*[\"'”’)\]]*\s+(?=[\"'“‘(\[`]*[^\W_a-z])"  # an end, then anything but a small letter
    r"|(?<=\n)(?:\s*\n|(?=\s*(?:[-*•–]\s|\(?\d{1,2}[.)]\s|[A-Z]))))"  # a blank line, a list item, a new line
)


def normalise(text: str) -> str:
    """Text in Unicode's compatibility form (NFKC), in which full-width digits and ligatures are plain."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def words(text: str) -> list[str]:
    """Case-folded runs of letters and digits: ``"Don't, 3.5 m²"`` gives ``don t 3 5 m2``."""
    if text.isascii():
        return text.encode().translate(_ASCII).decode().split()
    return _WORD.findall(normalise(text).casefold())


def stop_words() -> frozenset[str]:
    """Words that say nothing by themselves, case-folded."""
    return language().stop_words


@cache
def _stemmer() -> Stemmer:
    return Stemmer(language().stemmer, 0)  # no cache of its own: Stemmer's is not safe between threads, a dict is


class _Stems(dict[str, str]):
    """Stems by word; emptied when there are more than a language has in use (some 8 MB)."""

    def __missing__(self, word: str) -> str:
        if len(self) >= 1 << 16:
            self.clear()
        self[word] = found = self.of(word)
        return found

    def of(self, word: str) -> str:
        stemmed: str = _stemmer().stemWord(word)
        return stemmed


class _ContentStems(_Stems):
    """Stems by word, "" for a stop word."""

    def of(self, word: str) -> str:
        return "" if word in language().stop_words else _stems[word]


_stems, _content_stems = _Stems(), _ContentStems()


def stem(word: str) -> str:
    """The stem of a case-folded word; in English Porter's (1980)."""
    return _stems[word]


def stems(said: Iterable[str]) -> list[str]:
    """The stem of each word."""
    return list(map(_stems.__getitem__, said))


@cache
def stop_stems() -> frozenset[str]:
    """The stems of the stop words; other words may have them too."""
    return frozenset(stems(stop_words()))


def content(said: list[str]) -> list[str]:
    """The stem of each word that is not a stop word, in order, repeats kept."""
    return list(filter(None, map(_content_stems.__getitem__, said)))


def content_among(wanted: frozenset[str], said: Iterable[str]) -> frozenset[str]:
    """The stems in `wanted` that one of these words has, stop words aside."""
    return wanted.intersection(map(_content_stems.__getitem__, said))


def content_stems(text: str) -> list[str]:
    """The stems of a text's words that are not stop words, in order, repeats kept."""
    return content(words(text))


def sentences(text: str) -> list[str]:
    """Sentences and list items, stripped, none empty.

    Splits at a full stop, question or exclamation mark before anything but a small letter, at blank lines and
    before list items; not after list markers, titles, initials and common abbreviations. Tokenised text
    (``a word .``) works too.
    """
    return list(_sentences(text))


def words_by_sentence(text: str) -> list[list[str]]:
    """The words of each sentence."""
    if not text.isascii():
        return list(map(words, sentences(text)))
    plain = text.encode().translate(_ASCII).decode()  # as long as the text
    return [said for start, end in _bounds(text) if (said := plain[start:end].split())]


@lru_cache(maxsize=64)  # many measures ask for the same answer's
def _sentences(text: str) -> tuple[str, ...]:
    found = [text[start:end].strip() for start, end in _bounds(text)]
    return tuple([each for each in found if each[:1].isalnum() or _WORD.search(each)])


def _bounds(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end; some may hold no word."""
    bounds, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        at, end = match.span()
        if text[at] == "." and _is_short(text[max(start, at - 12) : at]):
            continue
        bounds.append((start, end))
        start = end
    bounds.append((start, len(text)))
    return bounds


def _is_short(end: str) -> bool:
    """Whether a full stop behind this text ends no sentence. Most words need no look at the pattern."""
    word = (end.split() or [""])[-1]
    may_be = len(word) < 4 or word in language().short_forms or "." in word or "(" in word
    return may_be and language().short_form.search(end) is not None


_NAME_TOKEN = re.compile(r"[^\W_]+(?:[.&'’/-][^\W_]+)*")


def entities(text: str) -> list[str]:
    """Runs of capitalised words (``Lake Havasu City``), acronyms and codes (``NATO``, ``P-101A``), in order.

    Found by the case of letters, without a model. A sentence's first word counts only if it is an acronym or a code, or
    if the whole sentence is a name: otherwise its capital says nothing.
    """
    return [name for sentence in sentences(normalise(text)) for name in _names(sentence)]


def _names(sentence: str) -> list[str]:
    names: list[str] = []
    end = -1  # of the last word of the name being read
    pieces = sentence.split(" ")
    bare = not any(map(str.islower, pieces)) and not any(map(str.islower, sentence.split()))
    stop = -1
    for piece in pieces:
        start, stop = stop + 1, stop + 1 + len(piece)
        if piece == piece.lower():  # as most are
            continue
        for match in _NAME_TOKEN.finditer(sentence, start, stop):
            token = match.group()
            if not _is_name(token, opens=end < 0 and match.start() < 3 and not bare):
                continue
            if names and sentence[end : match.start()] == " ":
                names[-1] += " " + token
            else:
                names.append(token)
            end = match.end()
    return names


def _is_name(token: str, *, opens: bool) -> bool:
    if token[:1].isupper() and (len(token) == 1 or token[1:].islower()):
        return len(token) > 1 and not opens and token.casefold() not in language().stop_words
    return not token.isdigit() and any(map(str.isupper, token))
