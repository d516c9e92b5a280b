"""What a built dataset is made of and what it leaves out, in numbers and as a page."""

from collections import Counter
from typing import IO, TYPE_CHECKING, Any

import orjson

from tasks.dataset.overflow import Fitted
from tasks.dataset.sequences import Sequences
from tasks.triplets import Triplet

if TYPE_CHECKING:
    import numpy as np

SIDES = ("train", "heldout", "evaluation")
BARS = 16
EXAMPLES = 20  # of training rows somewhat like an evaluation row


REMEDIES = {
    "leak": "nothing to do, or give the document another name if it is not the one that is evaluated on",
    "near_duplicate": "nothing to do, or raise build.near_duplicate_drop if the likeness is only boilerplate",
    "overflow": "shorten the passages that hold the answer, or raise build.max_tokens if the model's window allows it",
}


class Tally:
    """Counts rows as they are built, and writes those left out as JSON lines: id, document, rule, value, remedy."""

    def __init__(self, quarantine: IO[bytes]) -> None:
        self._quarantine = quarantine
        self.rows: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter(leak=0, near_duplicate=0, overflow=0)
        self._documents: dict[str, set[str]] = {side: set() for side in SIDES}
        self._refusals: Counter[str] = Counter()
        self.overflows: list[int] = []  # tokens that the rows which do not fit would need
        self._passages_dropped = 0
        self._similar: list[tuple[float, str, str]] = []

    def fitted(self, side: str, fitted: Fitted, limit: int) -> None:
        for row in fitted.rows:
            self.rows[side] += 1
            self._refusals[side] += row.refusal
            self._documents[side].add(row.document)
        self._passages_dropped += fitted.passages_dropped
        self.overflows += [needed for _, needed in fitted.too_long]
        for row, needed in fitted.too_long:
            self.leave_out(row, "overflow", f"{needed:,} tokens with its evidence alone, of {limit:,}")

    def leave_out(self, row: Triplet, rule: str, value: str) -> None:
        self.left_out[rule] += 1
        entry = {"id": row.id, "document": row.document, "rule": rule, "value": value, "remedy": REMEDIES[rule]}
        self._quarantine.write(orjson.dumps(entry) + b"\n")

    def similar(self, row: Triplet, jaccard: float, evaluation_id: str) -> None:
        """A row that is kept though its context is somewhat like an evaluation row's."""
        self._similar.append((jaccard, row.id, evaluation_id))

    def report(self) -> dict[str, Any]:
        return {
            "rows": {side: self.rows[side] for side in SIDES},
            "documents": {side: len(self._documents[side]) for side in SIDES},
            "refusals": {side: self._refusals[side] for side in SIDES},
            "left_out": dict(self.left_out),
            "passages_dropped": self._passages_dropped,
            "similar": {
                "rows": len(self._similar),
                "examples": [
                    {"id": id_, "evaluation_id": other, "jaccard": round(jaccard, 3)}
                    for jaccard, id_, other in sorted(self._similar, reverse=True)[:EXAMPLES]
                ],
            },
        }


def tokens(sequences: Sequences, packed: int, capacity: int) -> dict[str, Any]:
    """Tokens of the training rows, how full their `packed` sequences of `capacity` are, and how long rows are."""
    total, asked = int(sequences.lengths.sum()), int(sequences.prompt_lengths.sum())
    return {
        "tokens": {"prompt": asked, "answer": total - asked, "total": total},
        "packing": {
            "sequences": packed,
            "max_tokens": capacity,
            "efficiency": round(total / (packed * capacity), 4),
        },
        "lengths": _lengths(sequences.lengths),
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


def markdown(report: dict[str, Any]) -> str:
    """The report as a page: rows by side, what was left out and why, tokens, and the histogram of lengths."""
    counted, packing, left_out = report["tokens"], report["packing"], report["left_out"]
    percentiles, bars = report["lengths"]["percentiles"], report["lengths"]["histogram"]
    return "\n".join(
        [
            "| | train | held out | evaluation |",
            "|---|---:|---:|---:|",
            *(
                f"| {name} | " + " | ".join(f"{report[name][side]:,}" for side in SIDES) + " |"
                for name in ("rows", "documents", "refusals")
            ),
            "",
            f"{counted['total']:,} tokens to train on; the loss is on the {counted['answer']:,} of them "
            f"({counted['answer'] / counted['total']:.1%}) that are answers. {packing['sequences']:,} sequences of "
            f"{packing['max_tokens']:,} tokens, {packing['efficiency']:.1%} full.",
            "",
            f"Left out: {left_out['leak']:,} training rows whose document is evaluated on, "
            f"{left_out['near_duplicate']:,} whose context is nearly that of an evaluation row, "
            f"{left_out['overflow']:,} rows too long even with their evidence alone; quarantine.jsonl names them. "
            f"{report['passages_dropped']:,} passages without evidence were dropped from rows that were too long. "
            f"{report['similar']['rows']:,} training rows are kept though somewhat like an evaluation row.",
            "",
            "```mermaid",
            "xychart-beta",
            '    title "Training rows by length in tokens"',
            f'    x-axis "tokens, up to" [{", ".join(str(bar["up_to"]) for bar in bars)}]',
            '    y-axis "rows"',
            f"    bar [{', '.join(str(bar['rows']) for bar in bars)}]",
            "```",
            "",
            "| " + " | ".join(percentiles) + " |",
            "|" + "---:|" * len(percentiles),
            "| " + " | ".join(f"{value:,}" for value in percentiles.values()) + " |",
            "",
        ]
    )
