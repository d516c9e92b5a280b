"""The right value, in whatever words."""

from tasks.evaluation.metrics.row import Row
from tasks.text import holds


def contains_value(row: Row) -> float | None:
    """1 if the row's `value` stands in the answer, whatever stands around it, else 0; up.

    Compared by stems and by numbers in one spelling: "1,450 rpm" is in "It runs at 1450rpm." None if the row has no
    value or the right answer is a refusal. Blind to what the value is said of, and to an answer that lists several.
    """
    if row.should_abstain or not row.value:
        return None
    return float(holds(row.answer, row.value))
