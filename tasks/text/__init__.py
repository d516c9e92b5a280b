"""Text as the rules and the metrics read it: words, numbers, names, values, refusals, and support by a context."""

from tasks.text.names import entities
from tasks.text.quantities import numbers
from tasks.text.refusal import claims, is_refusal, leaks
from tasks.text.support import ContextView
from tasks.text.tokens import content_stems, sentences, words
from tasks.text.values import holds

__all__ = [
    "ContextView",
    "claims",
    "content_stems",
    "entities",
    "holds",
    "is_refusal",
    "leaks",
    "numbers",
    "sentences",
    "words",
]
