"""Length against the reference."""

from tasks.evaluation.metrics.row import Row


def length_ratio(row: Row) -> float | None:
    """Words of the answer over words of the reference, from 0; 1 is as long. A diagnostic: neither way is better.

    None if the answer abstains or should. Shows padding and curtness, which most other metrics reward or punish.
    """
    if row.abstained or row.should_abstain or not row.reference_words:
        return None
    return len(row.answer_words) / len(row.reference_words)
