"""Contrast pairs: one question asked with the answer at hand and without."""

from collections.abc import Iterable

from tasks.evaluation.metrics.contains_value import contains_value
from tasks.evaluation.metrics.row import Row

Key = tuple[str, str]  # document, query


def handled(row: Row) -> bool:
    """Whether a row is dealt with rightly: refused and no more if unanswerable, else answered, with the known value."""
    if row.should_abstain:
        return row.abstained and not row.claims
    return not row.abstained and contains_value(row) != 0


def contrast_pairs(rows: Iterable[tuple[Key, bool, bool]]) -> list[float | None]:
    """1 for a pair of which both sides are handled, else 0, up; on the first row of each pair, None on all others.

    `rows`: (document, query), should_abstain and `handled` of each row. A pair is a (document, query) that occurs
    both answerable and unanswerable. Neither always refusing nor never refusing gets any pair right.
    """
    first: dict[Key, int] = {}
    sides: dict[Key, dict[bool, bool]] = {}
    count = 0
    for key, should_abstain, right in rows:
        first.setdefault(key, count)
        side = sides.setdefault(key, {})
        side[should_abstain] = side.get(should_abstain, True) and right
        count += 1
    column: list[float | None] = [None] * count
    for key, side in sides.items():
        if len(side) == 2:
            column[first[key]] = float(all(side.values()))
    return column
