"""Exact match with the reference."""

from tasks.evaluation.metrics.row import Row


def exact_match(row: Row) -> float | None:
    """1 if the answer equals the reference but for case, punctuation and articles, else 0; up.

    None where the right answer is a refusal, so that refusing everything cannot win. Source: SQuAD (Rajpurkar 2016).
    Blind to any other way of saying the same.
    """
    if row.should_abstain or not row.reference:
        return None
    return float(row.answer_terms == row.reference_terms)
