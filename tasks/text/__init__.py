"""Text as the rules and the metrics read it: words, numbers, names, values, refusals, and support by a context."""

from tasks.text.detect import detect
from tasks.text.language import (
    AUTO,
    ENGLISH,
    LANGUAGE_FILES,
    TEXT_LIBRARIES,
    language,
    language_digests,
    refusal_sentence,
)
from tasks.text.quantities import numbers
from tasks.text.refusal import claims, is_refusal, leaks
from tasks.text.support import ContextView
from tasks.text.tokens import content_stems, entities, sentences, stop_words, words
from tasks.text.values import holds

__all__ = [
    "AUTO",
    "ENGLISH",
    "LANGUAGE_FILES",
    "TEXT_LIBRARIES",
    "ContextView",
    "claims",
    "content_stems",
    "detect",
    "entities",
    "holds",
    "is_refusal",
    "language",
    "language_digests",
    "leaks",
    "numbers",
    "refusal_sentence",
    "sentences",
    "stop_words",
    "words",
]
