"""Likeness to the reference in form, whatever is said in it."""

from functools import lru_cache

from tasks.evaluation.metrics.row import Row
from tasks.text.tokens import stop_words


def form(row: Row) -> float | None:
    """`rouge_l` of answer and reference with any content word for any other and any number for any other; 0 to 1, up.

    The style without the domain, which the other measures of likeness mix: a wrong value in the reference's form counts
    in full, and a right one in another form ("It is 16 bar." for "16 bar.") does not. None if the answer abstains or
    should. Blind to punctuation and case, and in other languages than English to all but length and numbers, for their
    function words pass for content.
    """
    from rapidfuzz.distance import LCSseq

    if row.abstained or row.should_abstain or not row.reference_words:
        return None
    answer, reference = list(map(_kind, row.answer_words)), list(map(_kind, row.reference_words))
    return 2 * LCSseq.similarity(answer, reference) / (len(answer) + len(reference))


@lru_cache(maxsize=1 << 14)
def _kind(word: str) -> str:
    return word if word in stop_words() else "0" if word[0].isdigit() else "w"
