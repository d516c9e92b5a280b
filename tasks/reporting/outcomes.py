"""What became of each question: right, wrong, refused rightly or refused wrongly; and which answers to read first."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tasks.evaluation.gating.decision import Flip
from tasks.evaluation.metrics.correctness import Outcome
from tasks.evaluation.metrics.scores import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.evaluation.statistics import Codes

    Mask = NDArray[np.bool_]

OUTCOMES = tuple(map(str, (Outcome.RIGHT, Outcome.REFUSED_RIGHTLY, Outcome.WRONG, Outcome.REFUSED_WRONGLY)))
GOOD = 2  # the first two are as they should be
UNKNOWN = "not known"  # answered, and there is no reference


def outcomes(scores: Scores) -> "Codes":
    """Of each row the index of its outcome in OUTCOMES, or behind them if it is not known; int64, (rows,)."""
    import numpy as np

    places = {name: at for at, name in enumerate(OUTCOMES)}
    return np.array([len(OUTCOMES) if each is None else places[each] for each in scores.outcomes()], dtype=np.int64)


def counted(systems: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """How many of all questions had each outcome, system by system; `good` are the first two together."""
    import numpy as np

    found = []
    for name, scores in systems.items():
        numbers = np.bincount(outcomes(scores), minlength=len(OUTCOMES) + 1).tolist()[: len(OUTCOMES)]
        named = {outcome.replace(" ", "_"): number for outcome, number in zip(OUTCOMES, numbers, strict=True)}
        found.append({"name": name, "good": sum(numbers[:GOOD]), **named})
    return found


def losses(before: Scores, tuned: Scores) -> "Mask":
    """Of each row whether `before` dealt with it rightly and `tuned` does not; bool, (rows,)."""
    was, now = outcomes(before), outcomes(tuned)
    lost: Mask = (was < GOOD) & (now >= GOOD) & (now < len(OUTCOMES))
    return lost


def flips(before: Scores, tuned: Scores) -> tuple[Flip, ...]:
    """The rows of `losses`, in the order of the rows."""
    import numpy as np

    was, now = outcomes(before), outcomes(tuned)
    return tuple(
        Flip(id=tuned.ids[at], document=tuned.documents[at], was=OUTCOMES[was[at]], now=OUTCOMES[now[at]])
        for at in np.flatnonzero(losses(before, tuned)).tolist()
    )


def reading_order(tuned: Scores, lost: Collection[str]) -> tuple[list[int], int, int]:
    """All row numbers in the order to read them, how many come first that got `lost`, and how many are not good.

    First what got lost, by the ids of the gate's flips, then what is not good either, then the rest. Within each, wrong
    answers before needless refusals, and those first that the context supports least.
    """
    import numpy as np

    now, gone = outcomes(tuned), np.isin(tuned.ids, list(lost))
    bad = (now >= GOOD) & (now < len(OUTCOMES))
    support = np.nan_to_num(tuned.columns["faithfulness"], nan=1.0)
    order = np.lexsort((np.arange(len(now)), np.where(bad, support, 0), np.where(bad, now, 0), ~gone, ~bad))
    return order.tolist(), int(gone.sum()), int(bad.sum())
