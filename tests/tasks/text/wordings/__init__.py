"""Refusals in many words, and answers that could be taken for refusals; written for these tests, one a line.

`refusals-N.txt` and `answers-N.txt`, in the order of their writing. The patterns were made with the first set in view.
Every later one was written before the patterns met it; what they made of it then, unmended, is in `BLIND`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def wordings(kind: str, number: int) -> list[str]:
    """The answers of one file; "refusals" or "answers"."""
    return (FOLDER / f"{kind}-{number}.txt").read_text(encoding="utf-8").splitlines()


# Share of refusals recognised, and of answers taken for one, at first sight. Sets 2 to 4 were written to be hard, in
# wordings far fetched or close to the border; set 5 as models commonly write; 6 and 7 too, while
# each answer of set 6, and most of set 7, negates something or speaks of what is not known.
BLIND = {
    2: (143 / 160, 19 / 163),
    3: (102 / 118, 8 / 118),
    4: (57 / 70, 6 / 70),
    5: (49 / 50, 1 / 50),
    6: (55 / 60, 8 / 60),
    7: (38 / 40, 1 / 40),
}

REFUSALS = wordings("refusals", 1)
ANSWERS = wordings("answers", 1)
