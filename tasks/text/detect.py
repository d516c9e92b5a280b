"""Which language a text is in."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from tasks.text.language import ENGLISH, LANGUAGES, language
from tasks.text.support import ContextView

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

HEAD = 400  # characters that are looked at; more change no verdict on 1,800 passages, questions and answers
SURE = 0.9  # probability from which an answer is taken to be in another language than its context
FEW = 4  # words under which no language is told
OWN = 0.2  # share of a language's stop words in a text of it; half of that in texts of others
OTHERS = (  # that are told from the covered ones; not Malay, say, which is close to Indonesian
    "af am az be bg bn bs ca da et eu fa fi ga gu hr hu hy is ka kk km kn ky lo lt lv mk ml mn mr my ne no pa ps si sk sl "
    "sq sr sw ta te tg tl ur uz yo zu"
)
_ENGLISH = (" the ", " of ", " and ", " is ")


def detect(*texts: str) -> str:
    """The ISO 639-1 code of the language that the texts are in, the first ones looked at first.

    By py3langid over the first `HEAD` characters; plain English is known without it, in a microsecond.
    """
    text = " ".join(texts) if len(texts[0]) < HEAD else texts[0]
    text = text[:HEAD]
    if text.isascii() and text.count(" the ") and sum(map(text.count, _ENGLISH)) > len(text) / 120:
        return ENGLISH
    return str(_identifier().classify(text)[0]) if any(map(str.isalpha, text)) else ENGLISH


def in_another(answer: str, view: ContextView) -> bool:
    """Whether an answer is surely in another language than its context, so that comparing their words says nothing.

    An answer of few words, of the context's own words or of its function words is in its language.
    """
    said = view.read(answer).words
    if len(said) < FEW:
        return False
    known = language(view.code)
    if sum(map(known.stop_words.__contains__, said)) >= OWN * len(said):
        return False
    return _in_another(answer, view)


@lru_cache(maxsize=64)
def _in_another(answer: str, view: ContextView) -> bool:
    if (view.content_coverage(answer) or 0) >= 0.5:
        return False
    return dict(_identifier().rank(answer[:HEAD])).get(view.code, 0.0) <= 1 - SURE


@cache
def _identifier() -> "LanguageIdentifier":
    """It takes .7 s and 30 MB once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES, *OTHERS.split()])
    return identifier
