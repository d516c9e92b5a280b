"""Which answers the report shows in full, and which of their words it marks."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasks.data.triplets import Triplet
from tasks.evaluation.metrics.row import Row
from tasks.evaluation.metrics.scores import Scores
from tasks.text import ENGLISH, ContextView
from tasks.text.tokens import content_stems, stem, stop_words

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats

SHOWN = ("faithfulness", "token_f1", "contains_value", "abstained", "hallucination")  # scores of each answer
POOR = 0.5  # of `quality`
_WORD = re.compile(r"[^\W_]+")

System = tuple[str, Scores]  # its answer to a row, and the scores of all its answers
Piece = tuple[str, bool]  # a part of a text, and whether it is marked


def quality(scores: Scores) -> "Floats":
    """How good each answer is, 0 to 1, for choosing examples only.

    The answer to an unanswerable question counts 1 if it refuses and says no more, else 0. To an answerable question
    it counts 0 if it refuses, else the mean of its support (0 or more) and of containing the right value, or of token
    F1 if the row has no value.
    """
    import numpy as np

    columns = scores.columns
    value = columns["contains_value"]
    right = np.where(np.isnan(value), np.nan_to_num(columns["token_f1"]), value)
    answered = (right + np.clip(np.nan_to_num(columns["faithfulness"]), 0, 1)) / 2
    refused = columns["abstained"] == 1
    clean = refused & (np.nan_to_num(columns["leaky_abstention"]) == 0)
    return np.where(columns["should_abstain"] == 1, clean, np.where(refused, 0.0, answered))


def choose(base: Scores, tuned: Scores, count: int) -> tuple[list[int], list[int]]:
    """Numbers of at most `count` of the worst and of the best rows: by gain over the base, then by the tuned answer.

    The worst got worse, or are poor and stayed so; the best got better. If both answerable and unanswerable questions
    changed, each gets half of the places: refusals, worth 0 or 1, would take most of them.
    """
    import numpy as np

    after = quality(tuned)
    gain = np.round(after - quality(base), 9)
    order = np.lexsort((after, gain)).tolist()  # by gain, then quality, then row number
    refusable = tuned.columns["should_abstain"] == 1
    poor = (gain < 0) | (gain == 0) & (after < POOR)
    worst = [row for row in order if poor[row]]
    best = [row for row in reversed(order) if gain[row] > 0]
    return (
        _balanced(worst, [(gain < 0) & ~refusable, (gain < 0) & refusable], count),
        _balanced(best, [~refusable, refusable], count),
    )


def failures(tuned: Scores, count: int) -> list[int]:
    """Numbers of the rows with the tuned model's poorest answers, poorest first; half of them are unanswerable."""
    import numpy as np

    after = quality(tuned)
    order = [row for row in np.argsort(after, kind="stable").tolist() if after[row] < POOR]
    refusable = tuned.columns["should_abstain"] == 1
    return _balanced(order, [~refusable, refusable], count)


def _balanced(order: list[int], kinds: list[Any], count: int) -> list[int]:
    """The first `count` rows of `order`, half of each kind if there are enough; in that order."""
    half = (count + 1) // 2
    first = [row for kind in kinds for row in [row for row in order if kind[row]][:half]]
    taken = set((first + [row for row in order if row not in first])[:count])
    return [row for row in order if row in taken]


def describe(row: Triplet, number: int, base: System, tuned: System) -> dict[str, Any]:
    """A row in full: question, passages, reference, and both answers with their scores."""
    return {
        "id": row.id,
        "document": row.document,
        "query": row.query,
        "context": list(row.context),
        "language": row.language,
        "reference": row.answer,
        "unanswerable": row.refusal,
        "base": _answer(number, *base),
        "tuned": _answer(number, *tuned),
    }


def _answer(number: int, answer: str, scores: Scores) -> dict[str, Any]:
    import numpy as np

    values = {name: float(scores.columns[name][number]) for name in SHOWN}
    return {"answer": answer, "scores": {name: round(v, 6) for name, v in values.items() if not np.isnan(v)}}


def supporting(context: list[str], answer: str, refusal: str | None, code: str = ENGLISH) -> list[list[Piece]]:
    """Each passage in pieces; content words that the answer's claims take from it are marked."""
    claimed = _claimed(answer, context, refusal, code)
    return [_pieces(passage, lambda stem: stem in claimed, code) for passage in context]


def unsupported(answer: str, context: list[str], query: str, refusal: str | None, code: str = ENGLISH) -> list[Piece]:
    """The answer in pieces; content words of its claims that neither context nor question contains are marked."""
    claimed = _claimed(answer, context, refusal, code)
    known = set(content_stems(" ".join([*context, query]), code))
    return _pieces(answer, lambda stem: stem in claimed and stem not in known, code)


def _claimed(answer: str, context: list[str], refusal: str | None, code: str) -> set[str]:
    """The content stems of an answer's claims, as in the metrics; a refusal claims nothing."""
    return set(content_stems("\n".join(Row("", ContextView(context, code), answer, refusal=refusal).claims), code))


def _pieces(text: str, marked: Callable[[str], bool], code: str) -> list[Piece]:
    """Marked words that follow each other are one piece, with the space between them."""
    pieces: list[Piece] = []
    end = 0
    for match in _WORD.finditer(text):
        word = match.group().casefold()
        mark = word not in stop_words(code) and marked(stem(word, code))
        between = text[end : match.start()]
        if mark and pieces and pieces[-1][1] and between.isspace():
            pieces[-1] = (pieces[-1][0] + between + match.group(), True)
        else:
            pieces += [(between, False), (match.group(), mark)]
        end = match.end()
    pieces.append((text[end:], False))
    return [piece for piece in pieces if piece[0]]
