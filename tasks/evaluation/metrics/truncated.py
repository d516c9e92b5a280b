"""Answers that did not end."""

from tasks.evaluation.metrics.row import Row


def truncated(row: Row) -> float:
    """1 if the answer was cut off at the limit of new tokens, else 0; down. The model rambles, or the limit is low."""
    return float(row.truncated)
