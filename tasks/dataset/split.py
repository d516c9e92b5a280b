"""Which side a document's rows are on: decided by a hash of its name, so that no row moves when data grows."""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from tasks.errors import UserError

Side = Literal["train", "heldout", "evaluation", "leak"]


class Split:
    """The side of each document: ``split(document)``.

    A document's place between 0 and 1 comes from its name and the salt alone. Those below `evaluation_share` are for
    evaluation; of the rest, those whose second place is below `heldout_share` are held out to watch the loss. Where a
    share catches no document, the one with the lowest place is taken, as long as there are two: only that one may
    change sides when documents are added.

    With `evaluation_documents`, from a source of their own, there is nothing to split off for evaluation, and a
    training document among them is a ``leak``.
    """

    def __init__(
        self,
        documents: Iterable[str],
        *,
        evaluation_share: float,
        heldout_share: float,
        salt: str,
        evaluation_documents: frozenset[str] | None = None,
    ) -> None:
        self._salt = salt
        self._heldout_share = heldout_share
        self._evaluation_documents = evaluation_documents
        self._evaluation_share = 0.0 if evaluation_documents is not None else evaluation_share
        self._chosen: dict[str, Side] = {}
        known = sorted(set(documents))
        if evaluation_documents is None and not any(self(document) == "evaluation" for document in known):
            if len(known) < 2:
                raise UserError(
                    "all rows come from one document, so none can be kept for evaluation without training on it",
                    "add rows from other documents, or name a file of evaluation rows in data.evaluation",
                )
            self._choose(known, "evaluation")
        left = [document for document in known if self(document) in ("train", "heldout")]
        if len(left) > 1 and heldout_share > 0 and not any(self(document) == "heldout" for document in left):
            self._choose(left, "heldout")

    def __call__(self, document: str) -> Side:
        if document in self._chosen:
            return self._chosen[document]
        if self._evaluation_documents is not None and document in self._evaluation_documents:
            return "leak"
        if self._place(document, "evaluation") < self._evaluation_share:
            return "evaluation"
        return "heldout" if self._place(document, "heldout") < self._heldout_share else "train"

    def _choose(self, documents: list[str], side: Side) -> None:
        self._chosen[min(documents, key=lambda document: self._place(document, side))] = side

    def _place(self, document: str, side: Side) -> float:
        return int.from_bytes(blake2b(f"{self._salt}\0{side}\0{document}".encode(), digest_size=8).digest()) / 2**64


def documents(path: Path) -> Counter[str]:
    """The documents of an Arrow stream of triplets, and how many rows each has."""
    import pyarrow as pa

    found: Counter[str] = Counter()
    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
        for batch in stream:
            counts = batch.column("document").value_counts()
            found.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
    return found
