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
MOST = 0.5  # of the documents, in one cluster


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

    Documents whose names are derived from their passages are one if they share passages: see `_clusters`.

    With `evaluation`, the documents of a source of its own, nothing is split off for evaluation, and a training
    document among them is a ``leak``.
    """
    import numpy as np

    documents = _joined(shards)
    names, first, which = np.unique(documents.names, return_index=True, return_inverse=True)
    named = _clusters(documents, names, which)  # by the first of each cluster
    known, of_cluster = np.unique(named, return_inverse=True)
    places = documents.places[first][known]
    sides = np.full(known.size, TRAIN, np.int8)
    leaks = np.zeros(names.size, bool)
    if evaluation is not None:
        leaks = np.isin(names, _joined(evaluation).names)
        sides[np.bincount(of_cluster, ~leaks, known.size) == 0] = LEAK
    elif known.size > 1:
        sides[_inside(places[:, 0], evaluation_share)] = EVALUATION
    else:
        raise UserError(
            "all rows come from one document, so none can be kept for evaluation without training on it",
            "add rows from other documents, or name a file of evaluation rows in data.evaluation",
        )
    train = np.flatnonzero(sides == TRAIN)
    sides[train[_inside(places[train, 1], heldout_share)]] = HELDOUT
    of_documents = np.where(leaks, LEAK, sides[of_cluster])[which].astype(np.int8)
    return np.split(of_documents, np.cumsum([shard.names.size for shard in shards])[:-1])


def shared_passages(
    shards: Sequence[Documents], sides: "Sequence[np.ndarray]", evaluation: Sequence[Documents] | None = None
) -> list[list[int]]:
    """For each shard, the passages of its training documents that evaluation rows have, too: see `passage_id`."""
    import numpy as np

    on = [shard_sides[shard.owners] for shard, shard_sides in zip(shards, sides, strict=True)]
    held = [each.passages for each in evaluation or ()]
    if evaluation is None:
        held = [shard.passages[side == EVALUATION] for shard, side in zip(shards, on, strict=True)]
    taken = np.unique(np.concatenate([np.zeros(0, np.uint64), *held]))
    return [
        np.intersect1d(shard.passages[(side == TRAIN) | (side == HELDOUT)], taken).tolist()
        for shard, side in zip(shards, on, strict=True)
    ]


def _joined(shards: Sequence[Documents]) -> Documents:
    import numpy as np

    starts = np.cumsum([0, *(shard.names.size for shard in shards)])
    owners = [shard.owners + start for shard, start in zip(shards, starts, strict=False)]
    empty = Documents(
        *(np.zeros(shape, kind) for shape, kind in ((0, "u8"), ((0, 2), float), (0, "u8"), (0, "i8"), (0, bool)))
    )
    joined = Documents(*map(np.concatenate, zip(empty, *shards, strict=True)))
    return joined._replace(owners=np.concatenate([empty.owners, *owners]))


def _clusters(documents: Documents, names: "np.ndarray", which: "np.ndarray") -> "np.ndarray":
    """For each distinct name the index of the first one in its cluster. `which`: the index of each document's name.

    Documents that share a passage are in one. Where that would put more than half of them into one cluster, because
    the same passages are retrieved for everything, it counts only what an answer comes from.
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    labels: np.ndarray = np.arange(names.size)
    for chosen in (np.ones(documents.passages.size, bool), documents.evidence):
        if not documents.passages.size:
            break
        passages, passage = np.unique(documents.passages[chosen], return_inverse=True)
        nodes = names.size + passages.size
        edges = which[documents.owners[chosen]], names.size + passage
        graph = coo_matrix((np.ones(passage.size, bool), edges), (nodes, nodes))
        labels = connected_components(graph, directed=False)[1][: names.size]
        if np.bincount(labels).max() <= MOST * np.unique(edges[0]).size:
            break
    _, first, cluster = np.unique(labels, return_index=True, return_inverse=True)
    return first[cluster]


def _inside(places: "np.ndarray", share: float) -> "np.ndarray":
    """bool per document: whether it belongs to a share of them; one alone does not."""
    import numpy as np

    inside: np.ndarray = places < share
    if places.size > 1 and share > 0:
        inside[np.argmin(places)] = True
    if places.size:
        inside[np.argmax(places)] = False
    return inside
