"""A system's scores: one column of numbers per metric, one number per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.evaluation.metrics.correctness import Outcome
from tasks.evaluation.tables import write_table

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats

TEXTS = ("id", "document", "row")


@dataclass(frozen=True)
class Scores:
    """Ids, source documents and digests of the rows, and the columns: float64, NaN where a metric does not apply."""

    ids: list[str]
    documents: list[str]
    rows: list[str]  # a digest of all that is measured, the answer too
    columns: dict[str, "Floats"]

    def write(self, path: Path) -> None:
        """Write a table: id, document, row, and one nullable float64 column each."""
        columns: dict[str, tuple[str, Sequence[Any]]] = {}
        for name, texts in zip(TEXTS, (self.ids, self.documents, self.rows), strict=True):
            columns[name] = ("string", texts)
        for name, column in self.columns.items():
            columns[name] = ("float64", cast(Sequence[Any], column))
        write_table(path, columns)

    @classmethod
    def read(cls, path: Path) -> "Scores":
        import numpy as np
        import pyarrow as pa

        with pa.ipc.open_stream(str(path)) as stream:
            table = stream.read_all()
        columns = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names if name not in TEXTS}
        ids, documents, rows = (table[name].to_pylist() for name in TEXTS)
        return cls(ids, documents, rows, columns)

    def weights(self, name: str) -> "Floats":
        """What each row weighs in a metric's figure: its weight column, or 1."""
        import numpy as np

        return self.columns.get(f"{name}_weight", np.ones(len(self.ids)))

    def outcomes(self) -> list[Outcome | None]:
        """What became of each question, as `tasks.evaluation.metrics.correctness.outcome` says; from the columns."""
        names = ("should_abstain", "abstained", "leaky_abstention", "correct")
        found: list[Outcome | None] = []
        for unanswerable, refused, leaks, right in zip(*(self.columns[name].tolist() for name in names), strict=True):
            if refused:
                clean = Outcome.WRONG if leaks == 1 else Outcome.REFUSED_RIGHTLY
                found.append(clean if unanswerable else Outcome.REFUSED_WRONGLY)
            elif right != right and not unanswerable:
                found.append(None)
            else:
                found.append(Outcome.RIGHT if right == 1 and not unanswerable else Outcome.WRONG)
        return found
