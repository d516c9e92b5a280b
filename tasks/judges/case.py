"""What a judge is given, and what it says."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tasks.data.triplets import Triplet
from tasks.engine.inputs import sha256_json
from tasks.evaluation.metrics.row import Row
from tasks.score import answered, refusal_sentence
from tasks.text import ContextView

System = Literal["base", "tuned"]
SYSTEMS: tuple[System, ...] = get_args(System)

# Why there is no score. A judge that has nothing to say of an answer, as any metric may:
Inapplicable = Literal["refusal", "no claim", "no reference"]
# A judgement that ought to be there and is not:
Missing = Literal["budget", "unreachable", "refused", "unreadable", "too long"]
INAPPLICABLE: tuple[str, ...] = get_args(Inapplicable)


class Case(NamedTuple):
    """One system's answer to one question."""

    id: str
    document: str
    system: System
    question: str
    context: tuple[str, ...]
    answer: str
    reference: str | None  # the right answer; None if there is none in the context
    refused: bool  # the answer declines, be it that it goes on all the same
    claims: tuple[str, ...]  # the answer's sentences that can be checked

    @property
    def seen(self) -> tuple[object, ...]:
        """What a judge sees of it: all but whose it is."""
        return self[3:]

    def digest(self, recipe: str) -> str:
        """What names a judgement: all that a judge of this recipe sees. 128 bits of SHA-256, hexadecimal."""
        return sha256_json((recipe, *self.seen))[:32]


class Judgement(NamedTuple):
    """A score, 0 to 1 or for a cosine -1 to 1; or None and why."""

    score: float | None
    reason: Inapplicable | Missing | None = None


def read_cases(rows: Path, base_answers: Path, tuned_answers: Path) -> list[Case]:
    """Every row's answer by the base, then every row's by the tuned model; UserError if they do not belong together.

    Both cases of a row share its texts, which are most of what memory holds.
    """
    refusal = refusal_sentence(rows)
    by_base, by_tuned = (answered(rows, folder / "answers.arrow") for folder in (base_answers, tuned_answers))
    base: list[Case] = []
    tuned: list[Case] = []
    for (row, first), (_, second) in zip(by_base, by_tuned, strict=True):
        context = ContextView(row.context)
        base.append(_case(row, context, first.text, refusal, "base"))
        tuned.append(_case(row, context, second.text, refusal, "tuned"))
    return base + tuned


def _case(row: Triplet, context: ContextView, answer: str, refusal: str | None, system: System) -> Case:
    said = Row(row.query, context, answer, refusal=refusal)
    return Case(
        id=row.id,
        document=row.document,
        system=system,
        question=row.query,
        context=row.context,
        answer=answer,
        reference=None if row.refusal else row.answer,
        refused=said.abstained,
        claims=tuple(said.claims),
    )
