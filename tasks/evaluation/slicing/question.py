"""A question that slices are made from: which passages hold its answer, and what other documents offer for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tasks.data.triplets import Triplet
from tasks.evaluation.metrics.grounding import sentence_support
from tasks.prompts import Prompt
from tasks.text import ContextView, content_stems, holds, sentences

if TYPE_CHECKING:
    import numpy as np

HOLDS = 0.60  # support of a sentence; 80 % of faithful sentences reach it, and 13 % of hallucinated ones
MAY_HOLD = 0.38  # 95 % of faithful sentences reach it: of what stays under it, hardly any holds the answer
MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiplying by it spreads the bits (Knuth)
LOT = 1e-4  # what a lot weighs beside a share: two shares of a question's words lie further apart

Thing = TypeVar("Thing")


class Unfit(Exception):
    """Why no slice can be made from a row, in a few words that are counted."""


class SliceRow(NamedTuple):
    """A row of a slice; and the same prompt with the wrong answer that it invites, to count who gives it."""

    row: Triplet
    wrong: Triplet | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """An evaluation row, passages and values of other documents (those most like the question first), and the room."""

    row: Triplet
    near: Sequence[str]
    values: Sequence[str]  # right answers' values to questions about other documents
    refusal: str  # the sentence
    prompt: Prompt
    tokens: int  # that a prompt may take
    salt: str

    @cached_property
    def gold(self) -> tuple[int, ...]:
        """Indices of the passages that hold the answer; Unfit if none surely does."""
        if not (found := holding(self.row)):
            raise Unfit("no passage surely holds the answer")
        return found

    @cached_property
    def distractors(self) -> list[str]:
        """Passages of other documents, none of which could hold the answer."""
        own = set(self.row.context)
        return [passage for passage in self.near if passage not in own and not may_hold([passage], self.row)]

    @property
    def others(self) -> list[str]:
        """The row's own passages that do not hold the answer."""
        return [passage for at, passage in enumerate(self.row.context) if at not in self.gold]

    def draw(self, *about: str) -> int:
        return draw(self.salt, self.row.id, *about)

    def shuffled(self, passages: Sequence[str], about: str) -> list[str]:
        return shuffled(passages, self.salt, self.row.id, about)

    def fits(self, context: Sequence[str]) -> bool:
        """Whether a prompt of these passages leaves room for an answer."""
        return self._size(context) <= self.tokens

    def most_that_fit(self, count: int) -> list[str]:
        """At most `count` distractors beside the row's own passages, passing over what is too long; Unfit for none."""
        own = self.row.context
        chosen: list[str] = []
        room = self.tokens - self._size(own)
        for passage in self.distractors:
            if len(chosen) == count:
                break
            if (tokens := self.prompt.length(passage)) <= room:
                chosen.append(passage)
                room -= tokens
        while chosen and not self.fits([*own, *chosen]):  # what joins passages, a line break mostly, takes room, too
            chosen.pop()
        if not chosen:
            raise Unfit("no further passage fits" if self.distractors else "there is no passage of another document")
        return chosen

    def _size(self, context: Sequence[str]) -> int:
        """Tokens of the prompt."""
        return int(self.prompt.encode_prompts([self.row.asked._replace(passages=context)]).values.size)

    def arranged(self, context: Sequence[str]) -> Triplet:
        """The row with these passages, its own and others, in this order."""
        held = {self.row.context[at] for at in self.gold}
        gold = tuple(at for at, passage in enumerate(context) if passage in held)
        return self.row._replace(context=tuple(context), gold=gold)


class Nearest:
    """For each question, things of other documents, one of each, whose text holds most of the question's words.

    A likeness is of a question and a thing alone, and lots, drawn from both, settle ties. So beside n documents, one
    more takes a place among a question's k with a chance of k / (n + 1): less can be had only by preferring what came
    first, and rows have no order. Weights over the whole set (IDF) would move every question's list with each row.
    Memory holds `most` things a question, and three numbers of each offer.
    """

    def __init__(self, rows: Sequence[Triplet], *, salt: str, most: int) -> None:
        import numpy as np

        stems = [set(content_stems(row.query, row.language)) for row in rows]
        holding: dict[str, list[int]] = {}
        for at, each in enumerate(stems):
            for stem in each:
                holding.setdefault(stem, []).append(at)
        self._holding = {stem: np.array(questions) for stem, questions in holding.items()}
        self._words = np.maximum(1, [len(each) for each in stems])
        self._documents = np.array([draw(row.document) for row in rows], np.uint64)
        self._lots = np.array([draw(salt, row.id) for row in rows], np.uint64)
        self._salt, self._most = salt, most
        self._found: list[dict[int, tuple[float, str]]] = [{} for _ in rows]  # by document
        self._least = np.full(len(rows), -1.0)  # likeness that a thing must exceed to be kept
        self._seen: set[tuple[int, int, int]] = set()

    def offer(self, document: str, text: str, thing: str) -> None:
        """Look at a `thing` of a document, compared by `text`; both again change nothing."""
        import numpy as np

        of, lot = draw(document), draw(self._salt, thing)
        offer = (of, lot, draw(text))
        if offer in self._seen:
            return
        self._seen.add(offer)
        held = [self._holding[stem] for stem in set(content_stems(text)) if stem in self._holding]
        shared = np.bincount(np.concatenate([np.zeros(0, np.int64), *held]), minlength=len(self._words))
        like = shared / self._words + LOT * self._lot(lot)
        for at in np.flatnonzero((like > self._least) & (self._documents != np.uint64(of))).tolist():
            found = self._found[at]
            found[of] = max(found.get(of, (-1.0, "")), (float(like[at]), thing))
            if len(found) > self._most:
                del found[min(found, key=found.__getitem__)]
            if len(found) == self._most:
                self._least[at] = min(found.values())[0]

    def _lot(self, lot: int) -> "np.ndarray":
        """From 0 to 1, of each question and the thing."""
        import numpy as np

        mixed = (self._lots ^ np.uint64(lot)) * np.uint64(MIX)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(MIX)
        return (mixed >> np.uint64(11)) / 2**53

    def of(self, question: int) -> list[str]:
        """Things for the question of that number, the likest first."""
        return list(dict.fromkeys(thing for _, thing in sorted(self._found[question].values(), reverse=True)))


def holding(row: Triplet) -> tuple[int, ...]:
    """Indices of the passages that hold the answer: `gold`; else told from `value`, else from the answer's support.

    None of a refusal; none either where no passage surely holds it.
    """
    if row.refusal:
        return ()
    if row.gold:
        return row.gold
    return tuple(at for at, passage in enumerate(row.context) if _says(passage, row, HOLDS))


def may_hold(passages: Sequence[str], row: Triplet) -> bool:
    """Whether one of the passages might hold the answer of the row; if in doubt, it does.

    Blind to an answer in quite other words, and to another right answer than the row's.
    """
    return any(_says(passage, row, MAY_HOLD) for passage in passages)


def _says(passage: str, row: Triplet, least: float) -> bool:
    """A known value decides, else one supported sentence; an answer of no content ("Yes.") may be anywhere.

    Nor does a value of no content decide: no passage holds "yes", and many that hold "no" say something else.
    """
    if row.value and content_stems(row.value, row.language):
        return holds(passage, row.value)
    view = ContextView([passage], row.language)
    supports = [sentence_support(view, sentence, row.query) for sentence in sentences(row.answer, row.language)]
    known = [support for support in supports if support is not None]
    return max(known) >= least if known else least == MAY_HOLD


def draw(*names: str) -> int:
    """A number of 64 bits that only the names decide."""
    return int.from_bytes(sha256("\0".join(names).encode()).digest()[:8])


def one_of(things: Sequence[Thing], *names: str) -> Thing:
    return things[draw(*names) % len(things)]


def shuffled(things: Sequence[Thing], *names: str) -> list[Thing]:
    """The things in an order that only the names and their number decide."""
    order = sorted(range(len(things)), key=lambda at: draw(*names, str(at)))
    return [things[at] for at in order]
