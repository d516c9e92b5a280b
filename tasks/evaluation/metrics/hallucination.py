"""Hallucination: does the answer claim what the context does not hold?"""

from tasks.evaluation.metrics.faithfulness import response_support
from tasks.evaluation.metrics.row import Row


def hallucination(row: Row) -> float:
    """1 if the answer's claims have a support under the threshold or state an absent number, else 0; down.

    Counts over all rows: an answer that abstains and says no more hallucinates nothing; one that refuses and then
    answers is judged by what it then says. At a threshold of .48, 90 % of faithful sentences pass and 26 % of
    hallucinated ones (human labels, 2,579 sentences); .38: 95 / 41; .60: 80 / 13. Blind where `faithfulness` is.
    """
    support = response_support(row)
    return float(bool(row.unsupported_numbers) or (support is not None and support < row.threshold))
