"""Words, Porter stems, content stems and sentences of English text."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from Stemmer import Stemmer

_WORD = re.compile(r"[^\W_]+")
# The same for ASCII, in 40 % of the time: letters in small, blanks for all that is neither letter nor digit.
_ASCII = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)).lower().ljust(256)
_SENTENCE_END = re.compile(  # one character class in front, so that the engine skips to it: 4 times as fast
    r"[.!?\n](?:(?<!\n)[.!?]*[\"'”’)\]]*\s+(?=[\"'“‘(\[`]*[^\W_a-z])"  # an end, then anything but a small letter
    r"|(?<=\n)(?:\s*\n|(?=\s*(?:[-*•–]\s|\(?\d{1,2}[.)]\s|[A-Z]))))"  # a blank line, a list item, a new line
)
_SHORT_FORMS = tuple(
    """
    Mr Mrs Ms Dr Prof St Mt Sr Jr Gen Col Capt Lt Sgt Rev Hon Gov Sen Rep Inc Ltd Co Corp No Nos Fig Figs Eq Sec Ch Vol
    vs cf approx ca al ed eds Jan Feb Aug Sept Oct Nov Dec
    """.split()  # noqa: SIM905
)
_MAYBE_SHORT = frozenset(_SHORT_FORMS)
_ABBREVIATION = re.compile(  # a list marker, a title, an initial or a short form: a capital may stand behind it
    r"(?:^|\n)\s*\(?\d{1,2}$|(?:^|[\s(])(?:[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]"
    rf"|{'|'.join(_SHORT_FORMS)})$"
)

STOP_WORDS = frozenset(
    """
    a about above after again against all also although am an and any are aren as at be became because
    become been before being below between both but by can cannot could couldn did didn do does doesn
    doing don down during each either else etc ever every few for from further had hadn has hasn have
    haven having he hence her here hers herself him himself his how however i if in into is isn it its
    itself just let ll may me might more most much must my myself n neither no nor not now o of off on
    once one only onto or other others our ours ourselves out over own per quite rather re s same shall
    shan she should shouldn since so some such t than that the their theirs them themselves then there
    therefore these they this those though through thus to too under until up upon us ve very was wasn we
    were weren what when where whether which while who whom whose why will with within without won would
    wouldn yes yet you your yours yourself yourselves
    """.split()  # noqa: SIM905
)


def normalise(text: str) -> str:
    """Text in Unicode's compatibility form (NFKC), in which full-width digits and ligatures are plain."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def words(text: str) -> list[str]:
    """Case-folded runs of letters and digits: ``"Don't, 3.5 m²"`` gives ``don t 3 5 m2``."""
    if text.isascii():
        return text.encode().translate(_ASCII).decode().split()
    return _WORD.findall(normalise(text).casefold())


_porter = Stemmer("porter", 0)  # no cache of its own: Stemmer's is not safe between threads, a dict is


class _Stems(dict[str, str]):
    """Stems of the words met so far; emptied when there are more than a language has in use (some 8 MB)."""

    def __missing__(self, word: str) -> str:
        if len(self) >= 1 << 16:
            self.clear()
        self[word] = found = self.of(word)
        return found

    def of(self, word: str) -> str:
        stemmed: str = _porter.stemWord(word)
        return stemmed


class _ContentStems(_Stems):
    """The same, and nothing for a stop word."""

    def of(self, word: str) -> str:
        return "" if word in STOP_WORDS else _stems[word]


_stems, _content_stems = _Stems(), _ContentStems()


def stem(word: str) -> str:
    """The Porter stem of a case-folded word (Porter 1980)."""
    return _stems[word]


def stems(said: Iterable[str]) -> list[str]:
    """The stem of each word."""
    return list(map(_stems.__getitem__, said))


def content(said: list[str]) -> list[str]:
    """The stem of each word that is no stop word, in order, repeats kept."""
    return list(filter(None, map(_content_stems.__getitem__, said)))


def content_among(wanted: frozenset[str], said: Iterable[str]) -> frozenset[str]:
    """Those of the stems `wanted` that some of these words has, being no stop word."""
    return wanted.intersection(map(_content_stems.__getitem__, said))


def content_stems(text: str) -> list[str]:
    """Porter stems of the words that are not stop words, in order, repeats kept."""
    return content(words(text))


def sentences(text: str) -> list[str]:
    """Sentences and list items, stripped, none empty.

    Splits at a full stop, question or exclamation mark before anything but a small letter, at blank lines and
    before list items; not after list markers, titles, initials and common abbreviations. Tokenised text
    (``a word .``) works too.
    """
    return list(_sentences(text))


def words_by_sentence(text: str) -> list[list[str]]:
    """The words of each of its `sentences`."""
    if not text.isascii():
        return list(map(words, sentences(text)))
    plain = text.encode().translate(_ASCII).decode()  # as long as the text
    return [said for start, end in _bounds(text) if (said := plain[start:end].split())]


@lru_cache(maxsize=64)  # an answer's are asked for by many
def _sentences(text: str) -> tuple[str, ...]:
    found = [text[start:end].strip() for start, end in _bounds(text)]
    return tuple([each for each in found if each[:1].isalnum() or _WORD.search(each)])


def _bounds(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end; some may be without a word."""
    bounds, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        at = match.start()
        if text[at] == "." and _is_short(text[max(start, at - 12) : at]):
            continue
        end = match.end()
        bounds.append((start, end))
        start = end
    bounds.append((start, len(text)))
    return bounds


def _is_short(end: str) -> bool:
    """Whether a full stop behind this ends no sentence; most words are seen not to be short without the pattern."""
    word = (end.split() or [""])[-1]
    may_be = len(word) < 4 or word in _MAYBE_SHORT or "." in word or "(" in word
    return may_be and _ABBREVIATION.search(end) is not None
