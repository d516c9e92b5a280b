"""Likeness to the reference in wording and order."""

from tasks.evaluation.metrics.row import Row


def rouge_l(row: Row) -> float | None:
    """F1 of the longest common subsequence of words of answer and reference, 0 to 1, up.

    Measures style: None if the answer abstains or should. Source: ROUGE-L (Lin 2004), without stemming. Blind to
    meaning: a right answer in other words scores low, a wrong number in the right words high.
    """
    from rapidfuzz.distance import LCSseq

    if row.abstained or row.should_abstain or not row.reference:
        return None
    answer, reference = row.answer_words, row.reference_words
    common = LCSseq.similarity(answer, reference)
    return 2 * common / (len(answer) + len(reference)) if common else 0.0
