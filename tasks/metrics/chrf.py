"""Likeness to the reference by characters."""

from tasks.metrics.row import Row


def chrf(row: Row) -> float | None:
    """F-score of the character n-grams, n = 1 to 6, that answer and reference share, 0 to 1, up.

    Recall counts twice as much as precision (chrF2), white space does not count. Measures style, kinder to other
    endings and compounds than `rouge_l`: None if the answer abstains or should. Source: Popović 2015, as sacreBLEU
    computes it for one sentence. Blind to meaning: a wrong digit costs a few n-grams.
    """
    from fastchrf import pairwise_chrf

    if row.abstained or row.should_abstain or not row.reference:
        return None
    return float(pairwise_chrf([[row.answer]], [[row.reference]])[0][0][0]) / 100
