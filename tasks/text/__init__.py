"""Text as the rules and the metrics read it: words, numbers, names, refusals, and support by a context."""

from tasks.text.names import entities
from tasks.text.quantities import numbers
from tasks.text.refusal import is_refusal, leaks
from tasks.text.support import ContextView
from tasks.text.tokens import content_stems, sentences, words

__all__ = ["ContextView", "content_stems", "entities", "is_refusal", "leaks", "numbers", "sentences", "words"]
