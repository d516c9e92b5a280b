"""What the gate compares and decides, as frozen models: the content of gate.json."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

# Of gate.json. 2: `schema_version`, `champion_missing`, verdicts with `finding`. 3: verdicts with `level`, `hold` and
# `at_most`, comparisons with the best so far, `flips`, `best_missing`. 4: `tries`, `forgetting`.
SCHEMA = 4

# base_shots: the base with solved examples in its prompt; best: by metric, the best adapter that was ever in service;
# trained: what ships is compared with what was trained
Against = Literal["base", "base_shots", "champion", "best", "trained"]
Called = Literal["better", "worse", "no significant difference", "inconclusive", "not scored", "diagnostic"]
Outcome = Literal["holds", "fails", "open"]
Finding = Literal[  # what an outcome rests on
    "gain",
    "loss",
    "no gain shown",
    "within the margin",
    "beyond the margin",
    "margin not shown",
    "reaches the level",
    "under the level",
    "level not shown",
    "not scored",
    "few documents",
    "not compared",
    "all hold",
    "lost again",
    "not asked",
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Model):
    """A system's mean or rate over the rows that count, with its 95 % interval; None if no row counts."""

    rows: int  # that count in the comparison
    scored: int  # that have a number for this system, whatever the other one has
    value: float | None = None
    low: float | None = None
    high: float | None = None


class Change(_Model):
    """The second system less the first, with its 95 % interval, standard error and p-value."""

    value: float
    low: float
    high: float
    error: float
    p: float
    p_holm: float | None = None  # of a primary metric: corrected for how many of them are tested
    detectable: float = 0.0  # the true change that would be shown four times in five
    # Of a rate on the same rows: rows with a higher and with a lower value, rows that failed in the first system.
    gained: int | None = None
    lost: int | None = None
    failed: int | None = None
    mcnemar_p: float | None = None
    jump: float | None = None  # of a mean: by how much a row changes that changes


class Comparison(_Model):
    """One metric of two systems. In JSON each figure is a field of its own, named like its system."""

    name: str
    label: str
    group: str
    direction: Literal["higher", "lower", "none"]
    primary: bool
    rows: int
    documents: int
    figures: dict[str, Figure]  # by system, the first one first
    difference: Change | None
    verdict: Called

    @model_validator(mode="before")
    @classmethod
    def _gather_figures(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "figures" in given:
            return given
        systems = given.keys() - cls.model_fields.keys()
        figures = {name: given[name] for name in given if name in systems}
        return {name: each for name, each in given.items() if name not in systems} | {"figures": figures}

    @model_serializer(mode="wrap")
    def _spread_figures(self, dump: Any) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        figures: dict[str, Any] = dumped.pop("figures")
        return dumped | figures


class Flip(_Model):
    """A question that the earlier system dealt with rightly and the tuned one does not."""

    id: str
    document: str
    was: str  # right, or refused rightly
    now: str  # wrong, or refused wrongly


class Forgetting(_Model):
    """Losses on a text that has nothing to do with the task, in nats per token."""

    base: float
    tuned: float

    @property
    def rise(self) -> float:
        return round(self.tuned - self.base, 6)


class Verdict(_Model):
    """Whether one rule holds against one system. `metric` is `flips` or `must_hold` if it is about single questions,
    and `forgetting` if about a general text."""

    against: Against
    metric: str
    label: str
    must: Literal["better", "not_worse", "at_least", "at_most", "hold"]
    margin: float | None = None
    level: float | None = None  # of at_least and at_most; then value, low and high are the figure itself
    questions: tuple[str, ...] = ()  # of hold: those that do not, or that are not asked
    outcome: Outcome
    finding: Finding | None = None  # None if read from schema 1
    needed: bool = True  # the decision depends on it; of gains of which one is enough, only the shown ones are
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None  # the gain, or the margin, that would be shown four times in five
    rows: int = 0
    documents: int = 0
    unscored: tuple[str, ...] = ()  # systems that no row is scored for
    reason: str = ""  # one sentence for people, made from the other fields


class Decision(_Model):
    """gate.json: what was decided, a verdict for each rule, and the comparisons that the verdicts are about."""

    schema_version: int = SCHEMA
    decision: Literal["promote", "refuse", "undecided"]
    why: str = ""  # one sentence for people, made from the other fields
    verdicts: tuple[Verdict, ...]
    champion_missing: str | None = None  # why there was a champion and no comparison with it
    best_missing: str | None = None  # the same of the best so far
    tries: int = 0  # other adapters that were judged on these very questions since the champion last changed
    forgetting: Forgetting | None = None  # None where the base does not know such text either
    flips: tuple[Flip, ...] = ()  # against the champion, or the base if there is none
    comparisons: dict[Against, tuple[Comparison, ...] | None]
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read gate.json, also one that was written before it had a schema version."""
        content = orjson.loads(path.read_bytes())
        if "schema_version" not in content:
            content |= {"schema_version": 1, "champion_missing": content["settings"].get("champion_missing")}
        return cls.model_validate(content)

    def write(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(self.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def plain(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Comparisons as JSON has them."""
    return [each.model_dump() for each in comparisons]
