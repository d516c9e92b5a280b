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
    share catches no document, or all, the nearest one is moved, so that no side is empty as long as there are documents
    enough: only such a one may change sides when others are added.

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
        self._moved: dict[str, Side] = {}
        known = sorted(set(documents))
        if evaluation_documents is None:
            if len(known) < 2:
                raise UserError(
                    "all rows come from one document, so none can be kept for evaluation without training on it",
                    "add rows from other documents, or name a file of evaluation rows in data.evaluation",
                )
            self._fill(known, "evaluation")
        self._fill([document for document in known if self(document) in ("train", "heldout")], "heldout")

    def __call__(self, document: str) -> Side:
        if document in self._moved:
            return self._moved[document]
        if self._evaluation_documents is not None and document in self._evaluation_documents:
            return "leak"
        if self._place(document, "evaluation") < self._evaluation_share:
            return "evaluation"
        return "heldout" if self._place(document, "heldout") < self._heldout_share else "train"

    def _fill(self, documents: list[str], side: Side) -> None:
        """Move a document where `side` has none or all of them; one alone is for training."""
        inside = [document for document in documents if self(document) == side]
        places = sorted(documents, key=lambda document: self._place(document, side))
        if documents and len(inside) == len(documents):
            self._moved[places[-1]] = "train"
        elif not inside and len(documents) > 1 and (side == "evaluation" or self._heldout_share > 0):
            self._moved[places[0]] = side

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
