"""Text as validation and the metrics read it: words, stems, numbers, names, refusals, and support by a context."""

from tasks.text.context import ContextView
from tasks.text.entities import entities
from tasks.text.numbers import numbers
from tasks.text.refusal import is_refusal, leaks
from tasks.text.words import content_stems, sentences, words

__all__ = ["ContextView", "content_stems", "entities", "is_refusal", "leaks", "numbers", "sentences", "words"]
