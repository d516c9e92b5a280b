"""Abstention: does it refuse where the context holds no answer, and only there?

Each figure is a mean over the rows to which it applies, so that it comes with a count. Always refusing has recall 1,
over-refusal 1 and precision equal to the share of unanswerable questions; never refusing has recall and F1 0.
"""

from collections.abc import Iterable

from tasks.evaluation.metrics.correctness import correct
from tasks.evaluation.metrics.row import Row

Key = tuple[str, str]  # document, query


def abstained(row: Row) -> float:
    """1 if the answer refuses, in the fixed sentence or in other words, else 0. A diagnostic.

    Blind to very roundabout refusals and to languages other than English, where only the fixed sentence is known.
    """
    return float(row.abstained)


def abstention_recall(row: Row) -> float | None:
    """Share of unanswerable questions that are refused, up. None where the question is answerable."""
    return float(row.abstained) if row.should_abstain else None


def abstention_precision(row: Row) -> float | None:
    """Share of refusals that are right, up. None where the answer does not refuse; undefined if none does."""
    return float(row.should_abstain) if row.abstained else None


def abstention_f1(row: Row) -> float | None:
    """Harmonic mean of abstention's precision and recall, 0 to 1, up.

    Written as a weighted mean over rows, ``2 TP / (2 TP + FP + FN)``: a row counts 1 if it is rightly refused, with
    weight 2, and 0 with weight 1 if it is wrongly refused or wrongly answered. None where neither refuses.
    """
    return float(row.abstained and row.should_abstain) if row.abstained or row.should_abstain else None


def abstention_f1_weight(row: Row) -> float:
    """2 for a right refusal, 1 for a wrong or a missing one, else 0."""
    return float(row.abstained + row.should_abstain)


def over_refusal(row: Row) -> float | None:
    """Share of answerable questions that are refused, down. None where the question is unanswerable."""
    return None if row.should_abstain else float(row.abstained)


def leaky_abstention(row: Row) -> float | None:
    """Share of refusals that go on to answer all the same, down. None where the answer does not refuse.

    40 % of the refusals of four real systems held a "However" or "But".
    """
    return float(row.leaks) if row.abstained else None


def refusal_exactness(row: Row) -> float | None:
    """1 if a refusal is the fixed sentence, to the letter and nothing more, else 0; up.

    None if the answer does not abstain, or the data have no fixed sentence. What reads answers by machine relies on it.
    """
    if not row.abstained or row.refusal is None:
        return None
    return float(row.answer.strip() == row.refusal.strip())


def handled(row: Row) -> bool:
    """Whether a row is dealt with rightly: refused and no more if unanswerable, else answered rightly."""
    if row.should_abstain:
        return row.abstained and not row.claims
    return not row.abstained and correct(row) != 0


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


def baselines(share: float) -> dict[str, dict[str, float | None]]:
    """The figures of a system that always refuses and of one that never does, at this share of unanswerable rows."""
    return {
        "always_refuse": {
            "abstention_recall": 1.0 if share else None,
            "abstention_precision": share,
            "abstention_f1": 2 * share / (1 + share),
            "over_refusal": 1.0 if share < 1 else None,
        },
        "never_refuse": {
            "abstention_recall": 0.0 if share else None,
            "abstention_precision": None,
            "abstention_f1": 0.0 if share else None,
            "over_refusal": 0.0 if share < 1 else None,
        },
    }
