"""Rows that are too long: passages that do not hold the answer go, the last one first; nothing is ever cut in two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.data.triplets import Triplet
from tasks.prompts import Prompt, Tokens
from tasks.text import ContextView

GAIN = 0.1  # a further passage counts as evidence if it holds at least this share more of the answer's content


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
    too_long: list[TooLong]


def fit(rows: Sequence[Triplet], prompt: Prompt, *, limit: int, room: int = 0) -> Fitted:
    """Tokenise, dropping passages until prompt and completion are within `limit` tokens.

    `room` is the least number of tokens that a completion is given, for answers yet to be generated.
    """
    import numpy as np

    completions = prompt.encode_completions([row.answer for row in rows])
    allowed = limit - np.maximum(completions.lengths, room)
    prompts = prompt.encode_prompts([(row.context, row.query) for row in rows])
    over = np.flatnonzero(prompts.lengths > allowed).tolist()
    if not over:
        return Fitted(list(rows), prompts, completions, 0, [])

    fitted, ids = list(rows), list(prompts)
    too_long: dict[int, TooLong] = {}
    dropped = 0
    while over:
        shorter = []
        for i in over:
            surplus = len(ids[i]) - int(allowed[i])
            row = _shortened(fitted[i], surplus, prompt)
            if row is None:
                too_long[i] = TooLong(rows[i], limit + surplus)
            else:
                dropped += len(fitted[i].context) - len(row.context)
                fitted[i] = row
                shorter.append(i)
        again = prompt.encode_prompts([(fitted[i].context, fitted[i].query) for i in shorter])
        for i, tokens in zip(shorter, again, strict=True):
            ids[i] = tokens
        over = [i for i in shorter if len(ids[i]) > allowed[i]]
    kept = [i for i in range(len(rows)) if i not in too_long]
    answers = list(completions)
    return Fitted(
        [fitted[i] for i in kept],
        Tokens.joined([ids[i] for i in kept]),
        Tokens.joined([answers[i] for i in kept]),
        dropped,
        list(too_long.values()),
    )


def _shortened(row: Triplet, surplus: int, prompt: Prompt) -> Triplet | None:
    """The row without as many of its last passages as `surplus` tokens surely need; None where none may go."""
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
            i: ContextView([row.context[j] for j in sorted(held | {i})]).content_coverage(row.answer)
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
    return held
