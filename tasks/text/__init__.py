"""Text as the rules and the metrics read it: words, numbers, names, values, refusals, and support by a context."""

from tasks.text.language import ENGLISH, LANGUAGE_FILES, language, language_digests
from tasks.text.quantities import holds, numbers
from tasks.text.refusal import claims, is_refusal, leaks
from tasks.text.support import ContextView
from tasks.text.tokens import content_stems, entities, sentences, stop_words, words

__all__ = [
    "ENGLISH",
    "LANGUAGE_FILES",
    "ContextView",
    "claims",
    "content_stems",
    "entities",
    "holds",
    "is_refusal",
    "language",
    "language_digests",
    "leaks",
    "numbers",
    "sentences",
    "stop_words",
    "words",
]
