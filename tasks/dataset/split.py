"""Which side a document's rows are on: decided by a hash of its name, so that no row moves when data grows."""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from tasks.errors import UserError

Side = Literal["train", "heldout", "evaluation", "leak"]


def split(
    documents: Iterable[str],
    *,
    evaluation_share: float,
    heldout_share: float,
    salt: str,
    evaluation_documents: frozenset[str] | None = None,
) -> dict[str, Side]:
    """The side of each document.

    A document's place between 0 and 1 comes from its name and the salt alone. Those below `evaluation_share` are for
    evaluation; of the rest, those whose second place is below `heldout_share` are held out to watch the loss. The one
    with the lowest place is always inside and the one with the highest outside, so that neither side is empty; only
    these two may change sides when documents are added.

    With `evaluation_documents`, from a source of their own, there is nothing to split off for evaluation, and a
    training document among them is a ``leak``.
    """
    known = sorted(set(documents))
    sides: dict[str, Side]
    if evaluation_documents is not None:
        sides = {document: "leak" if document in evaluation_documents else "train" for document in known}
    elif len(known) > 1:
        sides = _shared(known, "evaluation", evaluation_share, salt)
    else:
        raise UserError(
            "all rows come from one document, so none can be kept for evaluation without training on it",
            "add rows from other documents, or name a file of evaluation rows in data.evaluation",
        )
    return sides | _shared(
        [document for document in known if sides[document] == "train"], "heldout", heldout_share, salt
    )


def _shared(documents: list[str], side: Side, share: float, salt: str) -> dict[str, Side]:
    """`side` for a share of the documents, train for the others; one alone is for training."""
    places = {document: _place(document, side, salt) for document in documents}
    sides: dict[str, Side] = {document: side if place < share else "train" for document, place in places.items()}
    in_order = sorted(documents, key=places.__getitem__)
    if len(documents) > 1 and share > 0:
        sides[in_order[0]] = side
    if documents:
        sides[in_order[-1]] = "train"
    return sides


def _place(document: str, side: Side, salt: str) -> float:
    """A number between 0 and 1 that only these three decide."""
    return int.from_bytes(blake2b(f"{salt}\0{side}\0{document}".encode(), digest_size=8).digest()) / 2**64


def documents(path: Path) -> Counter[str]:
    """The documents of an Arrow stream of triplets, and how many rows each has."""
    import pyarrow as pa

    found: Counter[str] = Counter()
    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
        for batch in stream:
            counts = batch.column("document").value_counts()
            found.update(dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)))
    return found
