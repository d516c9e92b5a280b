"""What became of each question: right, wrong, refused rightly or refused wrongly; and which answers to read first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Codes

OUTCOMES = ("right", "refused rightly", "wrong", "refused wrongly")
GOOD = 2  # the first two are as they should be
SIMILAR = 0.5  # token F1 from which an answer without a known value counts as right


def outcomes(scores: Scores) -> "Codes":
    """Of each row the index of its outcome in OUTCOMES; int64, (rows,).

    An answer to a question that the context does not answer is wrong, and so is a refusal of it that answers after all.
    """
    import numpy as np

    columns = scores.columns
    unanswerable, refused = columns["should_abstain"] == 1, columns["abstained"] == 1
    clean = refused & (np.nan_to_num(columns["leaky_abstention"]) == 0)
    value = columns["contains_value"]
    right = columns["correct"] if "correct" in columns else np.where(np.isnan(value), columns["token_f1"], value)
    answered = np.where(np.nan_to_num(right) >= SIMILAR, 0, 2)
    return np.where(unanswerable, np.where(clean, 1, 2), np.where(refused, 3, answered)).astype(np.int64)


def counted(systems: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """How many of all questions had each outcome, system by system; `good` are the first two together."""
    import numpy as np

    found = []
    for name, scores in systems.items():
        numbers = np.bincount(outcomes(scores), minlength=len(OUTCOMES)).tolist()
        named = {outcome.replace(" ", "_"): number for outcome, number in zip(OUTCOMES, numbers, strict=True)}
        found.append({"name": name, "good": sum(numbers[:GOOD]), **named})
    return found


def reading_order(before: Scores, tuned: Scores) -> tuple[list[int], int, int]:
    """All row numbers in the order to read them, how many come first that got lost, and how many are not good.

    First what `before` had good and the tuned model has not, then what both have not, then the rest. Within each, wrong
    answers before needless refusals, and those first that the context supports least.
    """
    import numpy as np

    was, now = outcomes(before), outcomes(tuned)
    bad = now >= GOOD
    lost = bad & (was < GOOD)
    support = np.nan_to_num(tuned.columns["faithfulness"], nan=1.0)
    order = np.lexsort((np.arange(len(now)), np.where(bad, support, 0), np.where(bad, now, 0), ~lost, ~bad))
    return order.tolist(), int(lost.sum()), int(bad.sum())
