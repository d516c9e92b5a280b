"""Relevance: does the answer speak of what was asked?"""

from math import fsum

from tasks.evaluation.metrics.row import Row
from tasks.text.support import read


def relevance(row: Row) -> float | None:
    """Share of the question's IDF mass that the answer takes up, 0 to 1, up.

    None if the answer abstains or the question has no content word. AUROC .90 against the answer to the nearest other
    question. Echoing the question wins and a bare value ("16 bar") loses: read beside `token_f1`.
    """
    asked = set(read(row.query).content)
    if row.abstained or not asked:
        return None
    weight = row.context.weight
    said = set(read(row.answer).content)
    # A set's order changes with PYTHONHASHSEED; fsum rounds once, so that the sum does not.
    return fsum(map(weight, asked & said)) / fsum(map(weight, asked))
