"""Overlap with the reference, word by word."""

from collections import Counter

from tasks.evaluation.metrics.row import Row


def token_f1(row: Row) -> float | None:
    """Harmonic mean of the shares of answer words in the reference and of reference words in the answer; 0 to 1, up.

    None where the right answer is a refusal; a refusal of an answerable question counts, and scores near 0. Source:
    SQuAD (Rajpurkar 2016). Blind to word order, to synonyms, and to which words matter: a wrong number costs little.
    """
    if row.should_abstain or not row.reference:
        return None
    answer, reference = row.answer_terms, row.reference_terms
    said, wanted = Counter(answer), Counter(reference)
    common = sum([min(count, wanted[word]) for word, count in said.items() if word in wanted])
    return 2 * common / (len(answer) + len(reference)) if common else 0.0
