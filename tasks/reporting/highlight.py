"""Which words of a context support an answer, and which words of the answer nothing supports."""

import re
from collections.abc import Callable

from tasks.evaluation.metrics.row import Row
from tasks.text import ContextView
from tasks.text.tokens import content_stems, stem, stop_words

_WORD = re.compile(r"[^\W_]+")

Piece = tuple[str, bool]  # a stretch of text, and whether it is marked


def supporting(context: list[str], answer: str, refusal: str | None) -> list[list[Piece]]:
    """Each passage in pieces; marked are the content words that the answer takes up in what it claims."""
    said = _claimed(answer, context, refusal)
    return [_pieces(passage, lambda stem: stem in said) for passage in context]


def unsupported(answer: str, context: list[str], query: str, refusal: str | None) -> list[Piece]:
    """The answer in pieces; marked are content words that it claims, and that neither context nor question holds."""
    said, held = _claimed(answer, context, refusal), set(content_stems(" ".join([*context, query])))
    return _pieces(answer, lambda stem: stem in said and stem not in held)


def _claimed(answer: str, context: list[str], refusal: str | None) -> set[str]:
    """The content stems of what an answer claims, as the metrics see it; a refusal claims nothing."""
    return set(content_stems("\n".join(Row("", ContextView(context), answer, refusal=refusal).claims)))


def _pieces(text: str, marked: Callable[[str], bool]) -> list[Piece]:
    """Neighbouring words with the same mark are one piece, with the space between them."""
    pieces: list[Piece] = []
    end = 0
    for match in _WORD.finditer(text):
        word = match.group().casefold()
        mark = word not in stop_words() and marked(stem(word))
        between = text[end : match.start()]
        if mark and pieces and pieces[-1][1] and between.isspace():
            pieces[-1] = (pieces[-1][0] + between + match.group(), True)
        else:
            pieces += [(between, False), (match.group(), mark)]
        end = match.end()
    pieces.append((text[end:], False))
    return [piece for piece in pieces if piece[0]]
