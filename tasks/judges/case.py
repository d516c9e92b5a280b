"""What a judge is given, and what it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tasks.metrics.row import Row
from tasks.score import answered, refusal_sentence
from tasks.text import ContextView
from tasks.versioning.inputs import sha256_json

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
    """Every row's answer by the base, then every row's by the tuned model; UserError if they do not belong together."""
    folders: dict[System, Path] = {"base": base_answers, "tuned": tuned_answers}
    return [case for system in SYSTEMS for case in _cases(rows, folders[system], system)]


def _cases(rows: Path, answers: Path, system: System) -> Iterator[Case]:
    refusal = refusal_sentence(rows)
    for row, answer in answered(rows, answers / "answers.arrow"):
        said = Row(row.query, ContextView(row.context), answer.text, refusal=refusal)
        yield Case(
            id=row.id,
            document=row.document,
            system=system,
            question=row.query,
            context=row.context,
            answer=answer.text,
            reference=None if row.refusal else row.answer,
            refused=said.abstained,
            claims=tuple(said.claims),
        )
