"""The sentence that refuses, as the rows have it."""

from pathlib import Path

from tasks.data.triplets import files_of, read_triplets, refusal_named
from tasks.prompts import REFUSAL


def refusal_of(rows: Path) -> str:
    """The refusal sentence of a folder of triplets: what `validate` noted, else that of the first refusal row."""
    noted = next(filter(None, map(refusal_named, files_of(rows))), None)
    return noted or next((row.answer for row in read_triplets(rows) if row.refusal), REFUSAL)
