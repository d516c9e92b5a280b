"""Words, stems, sentences and names of a text. `code` is the ISO 639-1 code of its language."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise

from Stemmer import Stemmer

from tasks.text.cached import pattern
from tasks.text.language import ENGLISH, Affixes, language

_WORD = pattern(r"[^\W_]+")
# The same for ASCII, in 40 % of the time: letters in small, blanks for all that is neither letter nor digit.
_ASCII = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)).lower().ljust(256)
_SENTENCE_END = pattern(  # one character class in front, so that the engine skips to it: 4 times as fast
    r"[.!?\n](?:(?<!\n)[.!?]*[\"'”’)\]]*\s+(?=[\"'“‘(\[`]*[^\W_a-z])"  # an end, then anything but a small letter
    r"|(?<=\n)(?:\s*\n|(?=\s*(?:[-*•–]\s|\(?\d{1,2}[.)]\s|[A-Z]))))"  # a blank line, a list item, a new line
)
# Of scripts that write words with digits of their own: Arabic, Persian, Devanagari, Bengali, Thai, Lao, Khmer, Burmese.
_ZEROS = (0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0xED0, 0x17E0, 0x1040)
_DIGITS = {zero + digit: ord("0") + digit for zero in _ZEROS for digit in range(10)}
_OWN_DIGIT = pattern(f"[{''.join(map(chr, _DIGITS))}]")
_UNSEEN = pattern(  # joiners, and the points of Hebrew and Arabic
    "[\u00ad\u0640\u200b-\u200f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4-\u05c7\u064b-\u065f\u0670]"
)


def normalise(text: str) -> str:
    """Text in Unicode's compatibility form (NFKC), without joiners and points, digits of any script as 0 to 9."""
    if text.isascii():
        return text
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return text.translate(_DIGITS) if _OWN_DIGIT.search(text) else text


def fold(text: str, code: str = ENGLISH) -> str:
    """Text without case and, but in English, without variants of letters."""
    text = normalise(text)
    if code == ENGLISH:
        return text.casefold()
    if folded := _folded(code):
        text = text.translate(folded)
    return text.casefold()


@cache
def _folded(code: str) -> dict[int, str]:
    return {ord(letter): read_as for letter, read_as in language(code).folded.items()}


def words(text: str, code: str = ENGLISH) -> list[str]:
    """Case-folded runs of letters and digits: ``"Don't, 3.5 m²"`` gives ``don t 3 5 m2``.

    Of scripts without spaces and of Hangul, pairs of neighbouring characters in a language that is read so.
    """
    if code == ENGLISH:
        if text.isascii():
            return text.encode().translate(_ASCII).decode().split()
        return _WORD.findall(normalise(text).casefold())
    pattern, paired = _pattern(code)
    found: list[str] = pattern.findall(fold(text, code))
    return [part for word in found for part in _pairs(word)] if paired else found


@cache
def _pattern(code: str) -> tuple["re.Pattern[str]", bool]:
    """What a word of the language is, marks with their letter, and whether scripts without spaces are read in pairs."""
    import regex

    letter = r"[\p{L}\p{N}]\p{M}*"
    if language(code).segmentation == "words":
        return regex.compile(f"(?:{letter})+"), False
    spaceless = rf"[{SPACELESS}]\p{{M}}*"
    return regex.compile(f"(?:{spaceless})+|(?:(?![{SPACELESS}]){letter})+"), True


SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々"


def _pairs(word: str) -> list[str]:
    if word.isascii() or not _clusters().match(word):
        return [word]
    letters: list[str] = _clusters().findall(word)
    return list(map("".join, pairwise(letters))) or letters


@cache
def _clusters() -> "re.Pattern[str]":
    import regex

    compiled: re.Pattern[str] = regex.compile(rf"[{SPACELESS}]\p{{M}}*")
    return compiled


def stop_words(code: str = ENGLISH) -> frozenset[str]:
    """Words that say nothing by themselves, case-folded."""
    return language(code).stop_words


@cache
def negations(code: str = ENGLISH) -> frozenset[str]:
    """Words that negate, case-folded."""
    return language(code).refusal.negations | language(code).claims.negations


class _Stems(dict[str, str]):
    """Stems by word, "" for the words `passed` over; emptied when it has more than a language uses (8 MB)."""

    def __init__(self, code: str, passed: frozenset[str] = frozenset()) -> None:
        known = language(code)
        # No cache of its own: Stemmer's is not safe between threads, a dict is.
        self._stemmer = Stemmer(known.stemmer, 0) if known.stemmer else None
        self._affixes, self._passed = known.affixes, passed
        paired = known.segmentation == "characters"
        self._parts = {each for each in passed if len(each) == 1} if paired else None

    def __missing__(self, word: str) -> str:
        if len(self) >= 1 << 16:
            self.clear()
        self[word] = found = self._stemmed(word)
        return found

    def _stemmed(self, word: str) -> str:
        if word in self._passed or (self._parts and len(word) == 2 and not self._parts.isdisjoint(word)):
            return ""
        if self._affixes:
            return _light(word, self._affixes)
        if not self._stemmer:
            return word
        stemmed: str = self._stemmer.stemWord(word)
        return stemmed


@cache
def _stems(code: str) -> _Stems:
    return _Stems(code)


@cache
def _content_stems(code: str) -> _Stems:
    return _Stems(code, stop_words(code))


def _light(word: str, affixes: Affixes) -> str:
    """A word without the longest of the prefixes and of the suffixes that leave enough of it."""
    for length in range(min(4, len(word) - affixes.least), 0, -1):
        if word[:length] in affixes.prefixes:
            word = word[length:]
            break
    for length in range(min(5, len(word) - affixes.least), 0, -1):
        if word[-length:] in affixes.suffixes:
            return word[:-length]
    return word


def stem(word: str, code: str = ENGLISH) -> str:
    """The stem of a case-folded word; in English Porter's (1980)."""
    return _stems(code)[word]


def stems(said: Iterable[str], code: str = ENGLISH) -> list[str]:
    """The stem of each word."""
    return list(map(_stems(code).__getitem__, said))


@cache
def stop_stems(code: str = ENGLISH) -> frozenset[str]:
    """The stems of the stop words; other words may have them too."""
    return frozenset(stems(stop_words(code), code))


def kept_stems(said: Iterable[str], code: str = ENGLISH) -> list[str]:
    """The stem of each word, "" for a stop word."""
    return list(map(_content_stems(code).__getitem__, said))


def content(said: Iterable[str], code: str = ENGLISH) -> list[str]:
    """The stem of each word that is not a stop word, in order, repeats kept."""
    return list(filter(None, kept_stems(said, code)))


@cache
def _weighed_stems(code: str) -> _Stems:
    return _Stems(code, stop_words(code) - language(code).weighed)


def content_among(wanted: frozenset[str], said: Iterable[str], code: str = ENGLISH) -> frozenset[str]:
    """The stems in `wanted` that one of these words has, stop words aside that support does not count."""
    return wanted.intersection(map(_weighed_stems(code).__getitem__, said))


def content_stems(text: str, code: str = ENGLISH) -> list[str]:
    """The stems of a text's words that are not stop words, in order, repeats kept."""
    return content(words(text, code), code)


def sentences(text: str, code: str = ENGLISH) -> list[str]:
    """Sentences and list items, stripped, none empty.

    Splits at a full stop, question or exclamation mark before anything but a small letter, at blank lines and
    before list items; not after list markers, titles, initials and common abbreviations. Tokenised text
    (``a word .``) works too. Other languages than English are split by sentencex.
    """
    return [said for said, _ in split(text, code)]


def words_by_sentence(text: str, code: str = ENGLISH) -> list[list[str]]:
    """The words of each sentence."""
    if code != ENGLISH or not text.isascii():
        return [words(said, code) for said in sentences(text, code)]
    plain = text.encode().translate(_ASCII).decode()  # as long as the text
    return [said for start, end in _bounds(text) if (said := plain[start:end].split())]


@lru_cache(maxsize=64)  # many measures ask for the same answer's
def split(text: str, code: str) -> tuple[tuple[str, list[str] | None], ...]:
    """The sentences of a text, and the words of each where they are found on the way."""
    if code != ENGLISH:
        from sentencex import segment

        return tuple([(each.strip(), None) for each in segment(code, text) if _WORD.search(each)])
    if not text.isascii():
        stripped = [text[start:end].strip() for start, end in _bounds(text)]
        return tuple([(each, None) for each in stripped if _WORD.search(each)])
    plain = text.encode().translate(_ASCII).decode()  # as long as the text
    return tuple(
        [(text[start:end].strip(), said) for start, end in _bounds(text) if (said := plain[start:end].split())]
    )


def _bounds(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end; some may hold no word."""
    bounds, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        at, end = match.span()
        if text[at] == "." and _is_short(text, start, at):
            continue
        bounds.append((start, end))
        start = end
    bounds.append((start, len(text)))
    return bounds


def _is_short(text: str, start: int, at: int) -> bool:
    """Whether a full stop at this place of a sentence ends none. Most words need no look at the pattern."""
    last = text[at - 4 : at]
    if at - start > 3 and last.isalpha() and last not in _short_tails():
        return False
    end = text[max(start, at - 12) : at]
    word = (end.split() or [""])[-1]
    may_be = len(word) < 4 or word in language().short_forms or "." in word or "(" in word
    return may_be and language().short_form.search(end) is not None


@cache
def _short_tails() -> frozenset[str]:
    return frozenset([each[-4:] for each in language().short_forms])


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"
_NAME_TOKEN = pattern(rf"[^\W_{UNSPACED}]+(?:[.&'’/-][^\W_{UNSPACED}]+)*")
_NUMBERED = pattern(r"\d+\.")  # 8. November


def entities(text: str, code: str = ENGLISH) -> list[str]:
    """Runs of capitalised words (``Lake Havasu City``), acronyms and codes (``NATO``, ``P-101A``), in order.

    Found by the case of letters, without a model. A sentence's first word counts only if it is an acronym or a code, or
    if the whole sentence is a name: otherwise its capital says nothing. Where each noun has one, as in German, one word
    with a capital counts only behind a word such as "von".
    """
    return [name for sentence in sentences(normalise(text), code) for name in _names(sentence, code)]


def _names(sentence: str, code: str) -> list[str]:
    passed = stop_words(code)
    names: list[str] = []
    starts: list[int] = []
    end = -1  # of the last word of the name being read
    pieces = sentence.split(" ")
    bare = not any(map(str.islower, pieces)) and not any(map(str.islower, sentence.split()))
    stop = 0
    for piece in [piece for piece in pieces if piece != piece.lower()]:
        start = sentence.find(piece, stop)  # not inside another, which would have the capital, too
        stop = start + len(piece)
        for match in _NAME_TOKEN.finditer(sentence, start, stop):
            token = match.group()
            if not _is_name(token, passed, opens=end < 0 and match.start() < 3 and not bare):
                continue
            if names and sentence[end : match.start()] == " ":
                names[-1] += " " + token
            else:
                names.append(token)
                starts.append(match.start())
            end = match.end()
    if not language(code).nouns_capitalised:
        return names
    return [name for name, at in zip(names, starts, strict=True) if not _is_noun(name, sentence[:at], code)]


def _is_noun(name: str, before: str, code: str) -> bool:
    """Whether a name may be a common noun where each has a capital: one word, and nothing before it heralds a name."""
    last = before.split()[-1:]
    heralded = bool(last) and (fold(last[0], code) in language(code).name_before or _NUMBERED.fullmatch(last[0]))
    return name[1:].islower() and name.isalpha() and not heralded


def _is_name(token: str, passed: frozenset[str], *, opens: bool) -> bool:
    if token[:1].isupper() and (len(token) == 1 or token[1:].islower()):
        return len(token) > 1 and not opens and token.casefold() not in passed
    return not token.isdigit() and any(map(str.isupper, token))
