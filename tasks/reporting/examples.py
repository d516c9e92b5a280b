"""Which words of a passage and of an answer the report marks."""

import re
from collections.abc import Callable

from tasks.evaluation.metrics.row import Row
from tasks.text import ENGLISH, ContextView
from tasks.text.tokens import content_stems, stem, stop_words

_WORD = re.compile(r"[^\W_]+")

Piece = tuple[str, str]  # a part of a text, and how it is marked: "", "used", "missed" or "absent"


def passages(
    context: list[str], answer: str, reference: str, refusal: str | None, code: str = ENGLISH
) -> list[list[Piece]]:
    """Each passage in pieces: content words that the answer takes up, and those that only the right answer does."""
    used, wanted = (_claimed(text, context, refusal, code) for text in (answer, reference))
    return [_pieces(text, lambda s: "used" if s in used else "missed" if s in wanted else "", code) for text in context]


def unsupported(answer: str, context: list[str], query: str, refusal: str | None, code: str = ENGLISH) -> list[Piece]:
    """The answer in pieces; content words of its claims that neither context nor question contains are absent."""
    claimed = _claimed(answer, context, refusal, code)
    known = set(content_stems(" ".join([*context, query]), code))
    return _pieces(answer, lambda stem: "absent" if stem in claimed and stem not in known else "", code)


def _claimed(answer: str, context: list[str], refusal: str | None, code: str) -> set[str]:
    """The content stems of an answer's claims, as in the metrics; a refusal claims nothing."""
    return set(content_stems("\n".join(Row("", ContextView(context, code), answer, refusal=refusal).claims), code))


def _pieces(text: str, marked: Callable[[str], str], code: str) -> list[Piece]:
    """Words that follow each other and are marked alike are one piece, with the space between them."""
    pieces: list[Piece] = []
    end = 0
    for match in _WORD.finditer(text):
        word = match.group().casefold()
        mark = "" if word in stop_words(code) else marked(stem(word, code))
        between = text[end : match.start()]
        if mark and pieces and pieces[-1][1] == mark and between.isspace():
            pieces[-1] = (pieces[-1][0] + between + match.group(), mark)
        else:
            pieces += [(between, ""), (match.group(), mark)]
        end = match.end()
    pieces.append((text[end:], ""))
    return [piece for piece in pieces if piece[0]]
