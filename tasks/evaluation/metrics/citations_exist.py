"""Citations of passages that there are."""

from tasks.evaluation.metrics.row import Row


def citations_exist(row: Row) -> float | None:
    """Share of the cited numbers that a passage of the context bears, 0 to 1, up.

    None if the answer cites nothing, or no number stands in front of the passages. Blind to whether the right passage
    is cited: see `citations_supported`.
    """
    cited = [number for _, numbers in row.cited for number in numbers]
    return sum(number in row.numbered for number in cited) / len(cited) if cited and row.numbered else None
