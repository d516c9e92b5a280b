"""A shard of triplets as tokens: each row rendered, fit to the model's length and tokenised on the side it is on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tasks.data.dataset.folder import tokens
from tasks.data.dataset.sketch import conversation_id, evidence_of
from tasks.data.dataset.split import EVALUATION, LEAK, SIDES
from tasks.data.identity import is_derived, passage_id
from tasks.data.triplets import Triplet, parse_triplets, to_arrow
from tasks.prompts import Prompt, Tokens
from tasks.text import ContextView

if TYPE_CHECKING:
    import numpy as np

GAIN = 0.1  # a further passage counts as evidence if it holds at least this share more of the answer's content
LEAST = 0.5  # of the content that the evidence holds; below it, words of other languages count as they stand
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
    turns: bool = False  # the loss is on the answers of earlier turns, too


class Assignment(NamedTuple):
    """What is decided for a shard's rows by rules across shards."""

    left_out: list[int]  # numbers of rows that do not count
    sides: str  # of each document in the order of its first row, a digit: an index into SIDES
    near: list[tuple[int, float, str]]  # (number of a row, its similarity, id of the evaluation row)
    shared: list[int]  # passages that evaluation rows have, too: see `shared_passages`


def encode(
    rows: bytes, assignment: Assignment, prompt: Prompt, refusal: str | None, limits: Limits
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
    near = {number: (similarity, other) for number, similarity, other in assignment.near}
    gone, shared = set(assignment.left_out), set(assignment.shared)
    for number, row in enumerate(parse_triplets(rows)):
        if number in gone:
            continue
        side = int(assignment.sides[documents.setdefault(row.document, len(documents))])
        if side == LEAK:
            leave_out(row, "leak", f"{row.document} is a document of the evaluation rows")
            continue
        if side != EVALUATION and number in near:
            similarity, other = near[number]
            if similarity >= limits.near_duplicate_drop:
                leave_out(row, "near_duplicate", f"{similarity:.2f} like evaluation row {other}")
                continue
            similar.append((similarity, row.id, other))
        if shared and side != EVALUATION and conversation_id(row) in shared:
            leave_out(row, "leak", "the conversation that it is a turn of is one of the evaluation rows, too")
            continue
        if shared and side != EVALUATION and is_derived(row.document, row.context):
            rest = _without_shared(row, shared)
            if rest is None:
                leave_out(row, "leak", "the passage that it is about is one of the evaluation rows, too")
                continue
            counts["shared_passages"] += len(row.context) - len(rest.context)
            row = rest
        by_side[side].append(row)

    files: dict[str, bytes] = {}
    facts: dict[str, Any] = {"rows": {}, "refusals": {}, "overflows": [], "passages_dropped": 0, "turns_dropped": 0}
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
        if name == "train":
            facts["refusing"] = [number for number, row in enumerate(kept) if row.refusal]
        facts["passages_dropped"] += sum(each.passages_dropped for each in fitted)
        facts["turns_dropped"] += sum(each.turns_dropped for each in fitted)
        for row, needed in (long for each in fitted for long in each.too_long):
            facts["overflows"].append(needed)
            leave_out(row, "overflow", f"{needed:,} tokens with its evidence alone, of {limits.max_tokens:,}")
        if kept:
            batches_of_tokens = ((each.prompts, each.completions) for each in fitted)
            if side == EVALUATION:
                files[name] = to_arrow(kept, refusal)
            elif limits.turns:
                earlier = [
                    _earlier(prompt, *row) for each in fitted for row in zip(each.rows, each.prompts, strict=True)
                ]
                files[name] = tokens(batches_of_tokens, earlier)
            else:
                files[name] = tokens(batches_of_tokens)
    if left_out:
        files["left_out"] = b"".join(left_out)
    facts["passages_dropped"] += counts.pop("shared_passages", 0)
    return files, facts | {"left_out": counts, "similar": similar}


def _earlier(prompt: Prompt, row: Triplet, ids: "np.ndarray") -> list[int]:
    """Where the answers of earlier turns begin and end in the prompt, one after the other."""
    return [place for span in prompt.earlier_answers(row.asked, ids) for place in span] if row.history else []


def _without_shared(row: Triplet, shared: set[int]) -> Triplet | None:
    """The row without the passages that evaluation rows have; None if it needs one of them, or has no other."""
    gone = {index for index, passage in enumerate(row.context) if passage_id(passage) in shared}
    needed = set() if row.refusal else evidence_of(row)
    return None if gone & needed or len(gone) == len(row.context) else _without(row, gone)


class TooLong(NamedTuple):
    """A row that does not fit with nothing but its evidence left."""

    row: Triplet
    tokens: int


@dataclass(frozen=True)
class Fitted:
    """Rows that fit, with the passages that stayed and their tokens, in order; and those that cannot."""

    rows: list[Triplet]
    prompts: Tokens
    completions: Tokens
    passages_dropped: int
    turns_dropped: int
    too_long: list[TooLong]


def fit(rows: Sequence[Triplet], prompt: Prompt, *, limit: int, room: int = 0) -> Fitted:
    """Tokenise rows, dropping earlier turns and passages until prompt and completion are within `limit` tokens.

    The oldest question goes first, with its answer, then the next. Passages that do not hold the answer follow, the
    last one first; nothing is ever cut in two. `room` is the least number of tokens that a completion is given, for
    answers yet to be generated.
    """
    import numpy as np

    completions = prompt.encode_completions([(row.answer, "") for row in rows])
    allowed = limit - np.maximum(completions.lengths, room)
    prompts = prompt.encode_prompts([row.asked for row in rows])
    over = np.flatnonzero(prompts.lengths > allowed).tolist()
    if not over:
        return Fitted(list(rows), prompts, completions, 0, 0, [])

    fitted, ids = list(rows), dict(enumerate(prompts))
    too_long: dict[int, TooLong] = {}
    dropped = turns = 0
    while over:
        shorter = []
        for i in over:
            surplus = len(ids[i]) - int(allowed[i])
            row = _shortened(fitted[i], surplus, prompt)
            if row is None:
                too_long[i] = TooLong(rows[i], limit + surplus)
            else:
                dropped += len(fitted[i].context) - len(row.context)
                turns += len(fitted[i].history) - len(row.history)
                fitted[i] = row
                shorter.append(i)
        again = prompt.encode_prompts([fitted[i].asked for i in shorter])
        ids |= dict(zip(shorter, again, strict=True))
        over = [i for i in shorter if len(ids[i]) > allowed[i]]
    kept = [i for i in range(len(rows)) if i not in too_long]
    answers = list(completions)
    return Fitted(
        [fitted[i] for i in kept],
        Tokens.joined([ids[i] for i in kept]),
        Tokens.joined([answers[i] for i in kept]),
        dropped,
        turns,
        list(too_long.values()),
    )


def _shortened(row: Triplet, surplus: int, prompt: Prompt) -> Triplet | None:
    """The row without its oldest question and answer, or as many of its last passages as `surplus` tokens surely need.

    None where nothing may go.
    """
    if row.history:
        return row._replace(history=row.history[2:])
    evidence = _evidence(row)
    spare = [i for i in reversed(range(len(row.context))) if i not in evidence]
    if not spare:
        return None
    gone: set[int] = set()
    for i in spare:
        gone.add(i)
        # What a passage takes beside its own tokens, a line break mostly, is guessed high: dropping too few costs
        # another round, dropping too many would cost a passage.
        surplus -= prompt.length(row.context[i]) + 3
        if surplus <= 0:
            break
    return _without(row, gone)


def _without(row: Triplet, gone: set[int]) -> Triplet:
    """The row without the passages of these indices."""
    kept = [i for i in range(len(row.context)) if i not in gone]
    gold = None if row.gold is None else tuple(kept.index(i) for i in row.gold if i in kept)
    return row._replace(context=tuple(row.context[i] for i in kept), gold=gold)


def _evidence(row: Triplet) -> set[int]:
    """Passages that must stay: those that hold the answer; of a refusal, which holds none, the first."""
    if row.refusal:
        return {0}
    if row.gold:
        return set(row.gold)
    held: set[int] = set()
    share = 0.0
    while len(held) < len(row.context):
        with_one_more = {
            i: ContextView([row.context[j] for j in sorted(held | {i})], row.language).content_coverage(row.answer)
            for i in range(len(row.context))
            if i not in held
        }
        if None in with_one_more.values():  # the answer has no content words, such as "Yes.": any may hold it
            return set(range(len(row.context)))
        best = max(with_one_more, key=lambda i: with_one_more[i] or 0.0)
        gain = (with_one_more[best] or 0.0) - share
        if held and gain < GAIN:
            break
        held.add(best)
        share += gain
    return held if share >= LEAST else held | evidence_of(row)
