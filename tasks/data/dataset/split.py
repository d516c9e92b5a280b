"""Which side a document's rows are on, by a hash of its name: no row changes sides when data grows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tasks.data.dataset.sketch import Documents
from tasks.engine.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Side = Literal["train", "heldout", "evaluation", "leak"]
SIDES: tuple[Side, ...] = ("train", "heldout", "evaluation", "leak")
TRAIN, HELDOUT, EVALUATION, LEAK = range(4)


def split(
    shards: Sequence[Documents],
    *,
    evaluation_share: float,
    heldout_share: float,
    evaluation: Sequence[Documents] | None = None,
) -> "list[np.ndarray]":
    """The side of each document of each shard, as an index into `SIDES`.

    A document's place between 0 and 1 comes from its name and a salt alone. Those below `evaluation_share` are for
    evaluation; of the rest, those whose second place is below `heldout_share` are held out to watch the loss. The one
    with the lowest place is always inside and the one with the highest outside, so that neither side is empty; only
    these two may change sides when documents are added.

    With `evaluation`, the documents of a source of its own, nothing is split off for evaluation, and a training
    document among them is a ``leak``.
    """
    import numpy as np

    names = np.concatenate([np.zeros(0, np.uint64), *(shard.names for shard in shards)])
    places = np.concatenate([np.zeros((0, 2)), *(shard.places for shard in shards)])
    known, first, which = np.unique(names, return_index=True, return_inverse=True)
    places = places[first]
    sides = np.full(known.size, TRAIN, np.int8)
    if evaluation is not None:
        taken = np.concatenate([np.zeros(0, np.uint64), *(shard.names for shard in evaluation)])
        sides[np.isin(known, taken)] = LEAK
    elif known.size > 1:
        sides[_inside(places[:, 0], evaluation_share)] = EVALUATION
    else:
        raise UserError(
            "all rows come from one document, so none can be kept for evaluation without training on it",
            "add rows from other documents, or name a file of evaluation rows in data.evaluation",
        )
    train = np.flatnonzero(sides == TRAIN)
    sides[train[_inside(places[train, 1], heldout_share)]] = HELDOUT
    return np.split(sides[which], np.cumsum([shard.names.size for shard in shards])[:-1])


def _inside(places: "np.ndarray", share: float) -> "np.ndarray":
    """bool per document: whether it belongs to a share of them; one alone does not."""
    import numpy as np

    inside: np.ndarray = places < share
    if places.size > 1 and share > 0:
        inside[np.argmin(places)] = True
    if places.size:
        inside[np.argmax(places)] = False
    return inside
