"""A question to make slices from, and what it may be made with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tasks.data.triplets import Triplet
from tasks.evaluation.slicing.draw import draw, shuffled
from tasks.evaluation.slicing.holding import holding, may_hold
from tasks.prompts import Prompt


class Unfit(Exception):
    """Why no slice can be made from a row, in a few words that are counted."""


class Made(NamedTuple):
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
        return int(self.prompt.encode_prompts([(context, self.row.query)]).values.size)

    def arranged(self, context: Sequence[str]) -> Triplet:
        """The row with these passages, its own and others, in this order."""
        held = {self.row.context[at] for at in self.gold}
        gold = tuple(at for at, passage in enumerate(context) if passage in held)
        return self.row._replace(context=tuple(context), gold=gold)
