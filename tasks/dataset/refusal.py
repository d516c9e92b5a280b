"""The sentence that refuses, as the rows have it."""

from collections.abc import Iterable

from tasks.prompts import REFUSAL
from tasks.triplets import Triplet


def refusal_of(rows: Iterable[Triplet]) -> str:
    """The answer of the first refusal row; `validate` gave all the same one. The usual sentence where none refuses."""
    return next((row.answer for row in rows if row.refusal), REFUSAL)
