"""What a metric is: a function over one row, and how to read its figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.evaluation.metrics.row import Row

Group = Literal["Faithfulness", "Hallucination", "Relevance", "Style / domain", "Correctness", "Abstention"]
Direction = Literal["higher", "lower", "none"]  # which way is better; none: a diagnostic


@dataclass(frozen=True)
class Metric:
    """A metric; its figure is the mean of `measure` over the rows for which it is not None, weighted by `weight`.

    `measure` takes a row and returns a number or None; of a metric of level "set" it looks at several rows together.
    """

    measure: Callable[..., Any]
    label: str
    group: Group
    direction: Direction
    primary: bool = False  # one of the few that decide; corrected for being several (Holm)
    level: Literal["row", "set"] = "row"
    binary: bool = True  # a row counts 0 or 1, so that the figure is a rate
    same_rows: bool = True  # base and tuned are compared on rows that count for both; else each on its own rows
    weight: Callable[[Row], float] | None = None  # of a row, kept in a column of its own; None: all rows weigh the same
    odds: float = 1.0  # how many times as much, by `weight`, a row that counts 1 weighs as one that counts 0
    # Where many rows are measured faster together: what is taken of each, and all their numbers from that.
    taken: Callable[[Row], Any] | None = None
    together: Callable[[Sequence[Any]], list[float | None]] | None = None
