"""Which language a text is in."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING
from unicodedata import name

from tasks.text.language import ENGLISH, LANGUAGES, language
from tasks.text.reading import read

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

HEAD = 400  # characters that are looked at; more change no verdict on 1,800 passages, questions and answers
SURE = 0.9  # probability of other languages from which a text is not taken to be English
HARDLY = 0.001  # probability of the expected language under which a text is in another
FEW = 4  # words under which no language is told from another
OWN = 0.2  # share of a language's stop words in its texts; in others it is half of that
OTHERS = (  # that are told from the covered ones; not Malay, say, which is close to Indonesian
    "af am az be bg bn bs ca da et eu fa fi ga gu hr hu hy is ka kk km kn ky lo lt lv mk ml mn mr my ne no pa ps si sk "
    "sl sq sr sw ta te tg tl ur uz yo zu"
)
_ENGLISH = (" the ", " of ", " and ", " is ", " has ", " are ", " with ", " for ", "The ", "For ")


def detect(*texts: str) -> str:
    """The ISO 639-1 code of the language that the texts are in, by py3langid over their first `HEAD` characters.

    English where none is surely another. Plain English is known without a model, in a microsecond.
    """
    text = texts[0] if len(texts[0]) >= HEAD else " ".join(texts)
    text = text[:HEAD]
    if text.isascii() and sum(map(text.count, _ENGLISH)) > max(1, len(text) / 120):
        return ENGLISH
    return _told(text)


@lru_cache(maxsize=1 << 10)
def _told(text: str) -> str:
    if not any(map(str.isalpha, text)):
        return ENGLISH
    by_likelihood = _identifier().rank(text)
    likelihood = dict(by_likelihood)
    return ENGLISH if likelihood[ENGLISH] > 1 - SURE else str(by_likelihood[0][0])


@lru_cache(maxsize=64)
def is_foreign(text: str, code: str) -> bool:
    """Whether a text is surely in another language; of few words, or with the language's function words, it is not."""
    told = _told_by_words(text, code)
    return bool(dict(_identifier().rank(text[:HEAD])).get(code, 0.0) < HARDLY) if told is None else told


@lru_cache(maxsize=64)  # an answer and its claims
def may_be_foreign(text: str, code: str) -> bool:
    """Whether script and function words leave it open that a text is in another language: no model is asked."""
    return _told_by_words(text, code) is not False


def _told_by_words(text: str, code: str) -> bool | None:
    """`is_foreign` where script or words tell, else None."""
    script = "LATIN" if text[:1].isascii() and text[:1].isalpha() else _script(text)
    if script != "LATIN" and script != _script(language(code).refusal_sentence or text):
        return True  # however short
    said = read(text, code)
    if len(said.words) < FEW or len(said.words) - len(said.content) >= OWN * len(said.words):
        return False
    return None


def _script(text: str) -> str:
    """Of the first letter of a text, by its name in Unicode: LATIN, CYRILLIC, CJK …"""
    found = next((name(each, "").split(" ")[0] for each in text if each.isalpha()), "LATIN")
    return "CJK" if found in ("HIRAGANA", "KATAKANA") else found


@cache
def _identifier() -> "LanguageIdentifier":
    """It takes .7 s and 30 MB once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES, *OTHERS.split()])
    return identifier
