"""Refusals in many words, and answers that could be taken for refusals; written for these tests, one a line.

`refusals-N.txt` and `answers-N.txt`, in the order of their writing. The patterns were made with the first set in view.
Every later one was written before the patterns met it; what they made of it then, unmended, is in `BLIND`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def wordings(kind: str, number: int) -> list[str]:
    """The answers of one file; "refusals" or "answers"."""
    return (FOLDER / f"{kind}-{number}.txt").read_text(encoding="utf-8").splitlines()


REFUSALS = wordings("refusals", 1)
ANSWERS = wordings("answers", 1)
