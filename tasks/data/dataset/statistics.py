"""What a built dataset is made of and what it leaves out, in numbers."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tasks.data.dataset.folder import Lengths

if TYPE_CHECKING:
    import numpy as np

SIDES = ("train", "heldout", "evaluation")
BARS = 16
EXAMPLES = 20  # of training rows somewhat like an evaluation row


class Tally:
    """Adds up what became of the rows of all shards."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter(leak=0, near_duplicate=0, overflow=0)
        self.overflows: list[int] = []  # tokens that the rows which do not fit would need
        self._passages_dropped = self._turns_dropped = 0
        self._similar: list[tuple[float, str, str]] = []

    def shard(self, facts: dict[str, Any]) -> None:
        """Add the facts of `encode`."""
        self.rows.update(facts["rows"])
        self.refusals.update(facts["refusals"])
        self.left_out.update(facts["left_out"])
        self.overflows += facts["overflows"]
        self._passages_dropped += facts["passages_dropped"]
        self._turns_dropped += facts["turns_dropped"]
        self._similar += map(tuple, facts["similar"])

    def report(self, documents: dict[str, int]) -> dict[str, Any]:
        """The counts as JSON; `documents` is how many there are on each side."""
        return {
            "rows": {side: self.rows[side] for side in SIDES},
            "documents": {side: documents[side] for side in SIDES},
            "refusals": {side: self.refusals[side] for side in SIDES},
            "left_out": dict(self.left_out),
            "passages_dropped": self._passages_dropped,
            "turns_dropped": self._turns_dropped,
            "similar": {
                "rows": len(self._similar),
                "examples": [
                    {"id": id_, "evaluation_id": other, "jaccard": similarity}
                    for similarity, id_, other in sorted(self._similar, reverse=True)[:EXAMPLES]
                ],
            },
        }


def tokens(lengths: Lengths, packed: int, capacity: int) -> dict[str, Any]:
    """Tokens of the training rows, how full their `packed` sequences of `capacity` are, and how long rows are."""
    total, asked = int(lengths.wholes.sum()), int(lengths.prompts.sum())
    return {
        "tokens": {"prompt": asked, "answer": total - asked, "total": total},
        "packing": {
            "sequences": packed,
            "max_tokens": capacity,
            "efficiency": round(total / (packed * capacity), 4),
        },
        "lengths": _lengths(lengths.wholes),
    }


def _lengths(lengths: "np.ndarray") -> dict[str, Any]:
    import numpy as np

    cuts = (5, 25, 50, 75, 95, 99, 100)
    width = -(-int(lengths.max()) // BARS)
    counts = np.bincount((lengths - 1) // width, minlength=BARS)
    values = np.percentile(lengths, cuts, method="higher")
    return {
        "percentiles": {f"p{cut}": int(value) for cut, value in zip(cuts, values, strict=True)},
        "histogram": [{"up_to": (i + 1) * width, "rows": int(count)} for i, count in enumerate(counts)],
    }
