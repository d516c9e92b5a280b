"""Exact match with the reference."""

from tasks.metrics.row import Row
from tasks.text import words

ARTICLES = frozenset({"a", "an", "the"})


def squad_tokens(text: str) -> list[str]:
    """Words without case, punctuation and articles, as SQuAD's evaluation compares them."""
    return [word for word in words(text) if word not in ARTICLES]


def exact_match(row: Row) -> float | None:
    """1 if the answer equals the reference but for case, punctuation and articles, else 0; up.

    None where the right answer is a refusal, so that refusing everything cannot win. Source: SQuAD (Rajpurkar 2016).
    Blind to any other way of saying the same.
    """
    if row.should_abstain or not row.reference:
        return None
    return float(squad_tokens(row.answer) == squad_tokens(row.reference))
