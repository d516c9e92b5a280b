"""Which answers to look at: those that got worse most, those that got better most, and those that are poorest."""

from typing import TYPE_CHECKING, Any

from tasks.data.triplets import Triplet
from tasks.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats

System = tuple[str, Scores]  # its answer to a row, and the scores of all its answers
SHOWN = ("faithfulness", "token_f1", "contains_value", "abstained", "hallucination")
POOR = 0.5  # of `quality`


def quality(scores: Scores) -> "Floats":
    """How good each answer is, 0 to 1, for choosing examples only.

    Of an unanswerable question: 1 if it is refused and no more said. Of an answerable one: 0 if it is refused, else
    the mean of its support (floored at 0) and of holding the right value, or token F1 where no value is known.
    """
    import numpy as np

    columns = scores.columns
    value = columns["contains_value"]
    right = np.where(np.isnan(value), np.nan_to_num(columns["token_f1"]), value)
    answered = (right + np.clip(np.nan_to_num(columns["faithfulness"]), 0, 1)) / 2
    refused = columns["abstained"] == 1
    clean = refused & (np.nan_to_num(columns["leaky_abstention"]) == 0)
    return np.where(columns["should_abstain"] == 1, clean, np.where(refused, 0.0, answered))


def choose(base: Scores, tuned: Scores, count: int) -> tuple[list[int], list[int]]:
    """Row numbers of at most `count` of the worst and of the best: by gain over the base, then by the tuned answer.

    The worst got worse, or are poor and stayed so; the best got better. If both answerable and unanswerable questions
    moved, each has its half, or refusals, worth 0 or 1, would crowd out the rest.
    """
    import numpy as np

    after = quality(tuned)
    gain = np.round(after - quality(base), 9)
    order = np.lexsort((after, gain)).tolist()  # by gain, then quality, then row number
    refusable = tuned.columns["should_abstain"] == 1
    poor = (gain < 0) | (gain == 0) & (after < POOR)
    worst = [row for row in order if poor[row]]
    best = [row for row in reversed(order) if gain[row] > 0]
    return (
        _balanced(worst, [(gain < 0) & ~refusable, (gain < 0) & refusable], count),
        _balanced(best, [~refusable, refusable], count),
    )


def failures(tuned: Scores, count: int) -> list[int]:
    """Row numbers of the tuned model's poorest answers, poorest first, half of them to questions without an answer."""
    import numpy as np

    after = quality(tuned)
    order = [row for row in np.argsort(after, kind="stable").tolist() if after[row] < POOR]
    refusable = tuned.columns["should_abstain"] == 1
    return _balanced(order, [~refusable, refusable], count)


def _balanced(order: list[int], kinds: list[Any], count: int) -> list[int]:
    """The first `count` rows of `order`, half of them of each kind as far as there are any; in that order."""
    half = (count + 1) // 2
    first = [row for kind in kinds for row in [row for row in order if kind[row]][:half]]
    taken = set((first + [row for row in order if row not in first])[:count])
    return [row for row in order if row in taken]


def describe(row: Triplet, number: int, base: System, tuned: System) -> dict[str, Any]:
    """A row in full: what was asked, from which passages, what was answered and what was measured of it."""
    return {
        "id": row.id,
        "document": row.document,
        "query": row.query,
        "context": list(row.context),
        "reference": row.answer,
        "unanswerable": row.refusal,
        "base": _answer(number, *base),
        "tuned": _answer(number, *tuned),
    }


def _answer(number: int, answer: str, scores: Scores) -> dict[str, Any]:
    import numpy as np

    values = {name: float(scores.columns[name][number]) for name in SHOWN}
    return {"answer": answer, "scores": {name: round(v, 6) for name, v in values.items() if not np.isnan(v)}}
