"""A shard of triplets as tokens: each row rendered, fit to the model's length and tokenised on the side it is on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from tasks.data.dataset.folder import tokens
from tasks.data.dataset.overflow import fit
from tasks.data.dataset.split import EVALUATION, LEAK, SIDES
from tasks.data.triplets import Triplet, TripletWriter, parse_triplets
from tasks.prompts import Prompt

BATCH = 512  # rows rendered and tokenised at a time
REMEDIES = {
    "leak": "nothing to do, or give the document another name if it is not the one that is evaluated on",
    "near_duplicate": "nothing to do, or raise build.near_duplicate_drop if the likeness is only boilerplate",
    "overflow": "shorten the passages that hold the answer, or raise build.max_tokens if the model's window allows it",
}


class Limits(NamedTuple):
    max_tokens: int
    answer_room: int  # tokens that an evaluation prompt leaves for the answer
    near_duplicate_drop: float


class Fate(NamedTuple):
    """What is decided for a shard's rows by rules across shards."""

    left_out: list[int]  # numbers of rows that do not count
    sides: str  # of each document in the order of its first row, a digit: an index into SIDES
    near: list[tuple[int, float, str]]  # (number of a row, its similarity, id of the evaluation row)


def encode(
    rows: bytes, fate: Fate, prompt: Prompt, refusal: str, limits: Limits
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Encode a file of triplets.

    Files, one for each side that has rows: ``train`` and ``heldout``, tokens (`tokens_schema`); ``evaluation``,
    triplets that leave room for an answer; and ``left_out``, a line of JSON for each row on no side. Facts: counts.
    """
    by_side: dict[int, list[Triplet]] = {side: [] for side in range(len(SIDES))}
    left_out: list[bytes] = []
    counts: Counter[str] = Counter()
    similar: list[tuple[float, str, str]] = []

    def leave_out(row: Triplet, rule: str, value: str) -> None:
        counts[rule] += 1
        entry = {"id": row.id, "document": row.document, "rule": rule, "value": value, "remedy": REMEDIES[rule]}
        left_out.append(orjson.dumps(entry) + b"\n")

    documents: dict[str, int] = {}
    near = {number: (similarity, other) for number, similarity, other in fate.near}
    gone = set(fate.left_out)
    for number, row in enumerate(parse_triplets(rows)):
        if number in gone:
            continue
        side = int(fate.sides[documents.setdefault(row.document, len(documents))])
        if side == LEAK:
            leave_out(row, "leak", f"{row.document} is a document of the evaluation rows")
            continue
        if side != EVALUATION and number in near:
            similarity, other = near[number]
            if similarity >= limits.near_duplicate_drop:
                leave_out(row, "near_duplicate", f"{similarity:.2f} like evaluation row {other}")
                continue
            similar.append((similarity, row.id, other))
        by_side[side].append(row)

    files: dict[str, bytes] = {}
    facts: dict[str, Any] = {"rows": {}, "refusals": {}, "overflows": [], "passages_dropped": 0}
    for side, chosen in by_side.items():
        if not chosen:
            continue
        room = limits.answer_room if side == EVALUATION else 0
        batches = (chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH))
        fitted = [fit(batch, prompt, limit=limits.max_tokens, room=room) for batch in batches]
        kept = [row for each in fitted for row in each.rows]
        name = SIDES[side]
        facts["rows"][name] = len(kept)
        facts["refusals"][name] = sum(row.refusal for row in kept)
        facts["passages_dropped"] += sum(each.passages_dropped for each in fitted)
        for row, needed in (long for each in fitted for long in each.too_long):
            facts["overflows"].append(needed)
            leave_out(row, "overflow", f"{needed:,} tokens with its evidence alone, of {limits.max_tokens:,}")
        if kept:
            files[name] = (
                _triplets(kept, refusal)
                if side == EVALUATION
                else tokens((each.prompts, each.completions) for each in fitted)
            )
    if left_out:
        files["left_out"] = b"".join(left_out)
    return files, facts | {"left_out": counts, "similar": similar}


def _triplets(rows: Sequence[Triplet], refusal: str) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with TripletWriter(sink, refusal) as writer:
        for row in rows:
            writer.add(row)
    content: bytes = sink.getvalue().to_pybytes()
    return content
