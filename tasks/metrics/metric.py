"""What a metric is: a function over one row, and how to read its figure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tasks.metrics.row import Row

Measure = Callable[[Row], float | None]
Group = Literal["Faithfulness", "Hallucination", "Relevance", "Style / domain", "Correctness", "Abstention"]
Direction = Literal["higher", "lower", "none"]  # which way is better; none: a diagnostic


@dataclass(frozen=True)
class Metric:
    """A metric; its figure is the mean of `measure` over the rows for which it is not None, weighted by `weight`.

    A metric of level "set" looks at several rows together: it has no `measure`, `score` fills its column.
    """

    measure: Measure | None
    label: str
    group: Group
    direction: Direction
    primary: bool = False  # one of the few that decide; corrected for being several (Holm)
    level: Literal["row", "set"] = "row"
    binary: bool = True  # a row counts 0 or 1, so that the figure is a rate
    same_rows: bool = True  # base and tuned are compared on rows that count for both; else each on its own rows
    weight: Callable[[Row], float] | None = None  # of a row, kept in a column of its own; None: all rows weigh the same
