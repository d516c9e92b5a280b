"""Which passages hold a row's answer, and which might."""

from collections.abc import Sequence

from tasks.data.triplets import Triplet
from tasks.evaluation.metrics.faithfulness import sentence_support
from tasks.text import ContextView, content_stems, holds, sentences

HOLDS = 0.60  # support of a sentence; 80 % of faithful sentences reach it, and 13 % of hallucinated ones
MAY_HOLD = 0.38  # 95 % of faithful sentences reach it: of what stays under it, hardly any holds the answer


def holding(row: Triplet) -> tuple[int, ...]:
    """Indices of the passages that hold the answer: `gold`; else told from `value`, else from the answer's support.

    None of a refusal; none either where no passage surely holds it.
    """
    if row.refusal:
        return ()
    if row.gold:
        return row.gold
    return tuple(at for at, passage in enumerate(row.context) if _says(passage, row, HOLDS))


def may_hold(passages: Sequence[str], row: Triplet) -> bool:
    """Whether one of the passages might hold the answer of the row; if in doubt, it does.

    Blind to an answer in quite other words, and to another right answer than the row's.
    """
    return any(_says(passage, row, MAY_HOLD) for passage in passages)


def _says(passage: str, row: Triplet, least: float) -> bool:
    """A known value decides, else one supported sentence; an answer of no content ("Yes.") may be anywhere.

    Nor does a value of no content decide: no passage holds "yes", and many that hold "no" say something else.
    """
    if row.value and content_stems(row.value):
        return holds(passage, row.value)
    view = ContextView([passage])
    supports = [sentence_support(view, sentence, row.query) for sentence in sentences(row.answer)]
    known = [support for support in supports if support is not None]
    return max(known) >= least if known else least == MAY_HOLD
