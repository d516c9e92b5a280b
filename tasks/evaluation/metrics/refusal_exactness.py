"""Refusals in the one sentence that was trained."""

from tasks.evaluation.metrics.row import Row


def refusal_exactness(row: Row) -> float | None:
    """1 if a refusal is the fixed sentence, to the letter and nothing more, else 0; up.

    None if the answer does not abstain, or the data have no fixed sentence. What reads answers by machine relies on it.
    """
    if not row.abstained or row.refusal is None:
        return None
    return float(row.answer.strip() == row.refusal.strip())
