"""What a judge is given and what it says: cases, judgements, the table of them, and their figures."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from tasks.data.triplets import Triplet, refusal_of
from tasks.engine.inputs import sha256_json
from tasks.engine.parts import Journal
from tasks.engine.progress import Progress
from tasks.evaluation.answers import answered
from tasks.evaluation.metrics.grounding import faithfulness, hallucination
from tasks.evaluation.metrics.row import Row
from tasks.evaluation.tables import read_table, write_table
from tasks.text import ContextView, refusal_sentence, sentences

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Codes, Estimate, Floats

CHUNK = 64  # cases that are judged and kept at a time
TABLE = "judgements.arrow"
KNOWN_ANSWERS = "known_answers.arrow"  # of answers whose support is known

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
    sentences: tuple[str, ...] = ()  # all of the answer's, unless it declines

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
    refusal = refusal_of(rows)
    by_base, by_tuned = (answered(rows, folder / "answers.arrow") for folder in (base_answers, tuned_answers))
    base: list[Case] = []
    tuned: list[Case] = []
    for (row, first), (_, second) in zip(by_base, by_tuned, strict=True):
        context = ContextView(row.context, row.language)
        base.append(_case(row, context, first.text, refusal, "base"))
        tuned.append(_case(row, context, second.text, refusal, "tuned"))
    return base + tuned


def _case(row: Triplet, context: ContextView, answer: str, refusal: str | None, system: System) -> Case:
    measured = Row(row.query, context, answer, refusal=refusal_sentence(row.language, refusal))
    return Case(
        id=row.id,
        document=row.document,
        system=system,
        question=row.query,
        context=row.context,
        answer=answer,
        reference=None if row.refusal else row.answer,
        refused=measured.abstained,
        claims=tuple(measured.claims),
        sentences=() if measured.abstained else tuple(sentences(answer, row.language)),
    )


def lexical(cases: Sequence[Case]) -> list[Judgement]:
    """What the words alone say: whether the metric `hallucination` finds nothing, and then `faithfulness`; 0 to 1."""
    rows = [Row(each.question, ContextView(each.context), each.answer) for each in cases]
    said = [(faithfulness(row), hallucination(row)) for row in rows]
    unknown = Judgement(None, "no claim")
    return [unknown if s is None or made_up is None else Judgement((s + 1 - made_up) / 2) for s, made_up in said]


Measure = Callable[[Sequence[Case]], list[Judgement]]
Digested = tuple[Judgement, str | None]


class JudgeResult(NamedTuple):
    """What a judge said of each case; of what a local model said, also the digest of all that shaped it."""

    judge: str
    about: dict[str, str | None]  # label, model, prompt
    said: list[Digested]  # of each case, in their order

    @property
    def judgements(self) -> list[Judgement]:
        return [judgement for judgement, _ in self.said]


class Memory:
    """What local models have said, and what this run adds.

    A judgement is known by a digest of its recipe (code, libraries, model, settings) and of all that the judge saw, so
    that any earlier artifact will do.
    """

    def __init__(self, work: Path, earlier: Sequence[Path]) -> None:
        self._known: dict[str, Judgement] = {}
        tables = [folder / name for folder in earlier for name in (TABLE, KNOWN_ANSWERS)]
        for table in (each for each in tables if each.is_file()):  # artifacts of old have no known answers
            for digest, *said in read_table(table, ("digest", "score", "reason")):
                if digest:
                    self._known.setdefault(digest, Judgement(*said))
        self._journal = Journal(work / "judgements.jsonl")
        self._known |= {digest: Judgement(*said) for batch in self._journal.records for digest, *said in batch}
        self.taken_over = self.made = 0

    def judged(self, judge: str, recipe: object, cases: Sequence[Case], measure: Measure) -> list[Digested]:
        """The judgement of each case with its digest; `measure` is asked for those that are not known."""
        of_recipe = sha256_json((judge, recipe))
        digests = [case.digest(of_recipe) for case in cases]
        wanted = dict(zip(digests, cases, strict=True))
        new = [digest for digest in wanted if digest not in self._known]
        self.taken_over += len(wanted) - len(new)
        self.made += len(new)
        with Progress(judge, unit="answer", total=len(new)) as bar:
            for start in range(0, len(new), CHUNK):
                chunk = new[start : start + CHUNK]
                said = dict(zip(chunk, measure([wanted[digest] for digest in chunk]), strict=True))
                self._journal.append([(digest, *each) for digest, each in said.items()])
                self._known |= said
                bar.update(len(chunk))
        return [(self._known[digest], digest) for digest in digests]


def write_judgements(path: Path, cases: Sequence[Case], judged: Sequence[JudgeResult]) -> None:
    """Write a table with a row per judge and case: id, system, judge, score, reason, digest."""
    rows = [
        (case.id, case.system, each.judge, judgement.score, judgement.reason, digest)
        for each in judged
        for case, (judgement, digest) in zip(cases, each.said, strict=True)
    ]
    names = ("id", "system", "judge", "score", "reason", "digest")
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    kinds = {"score": "float64"}
    write_table(path, {name: (kinds.get(name, "string"), each) for name, each in zip(names, columns, strict=True)})


def figures(cases: Sequence[Case], judged: JudgeResult) -> dict[str, Any]:
    """{"base": …, "tuned": …, "difference": …}, over source documents, rounded to 6 digits.

    A system has value, low and high (95 %), rows and documents that count, inapplicable (how many), missing (how many),
    missing_rate (of those that ought to be judged) and reasons. The difference is tuned less base on the rows that
    count for both, None if there are none.
    """
    import numpy as np

    from tasks.evaluation.statistics import cluster_codes, estimate, span_of, weighted_sums

    half = len(cases) // 2  # base and tuned, the same rows in the same order
    codes = cluster_codes([case.document for case in cases[:half]])
    judgements = dict(zip(SYSTEMS, (judged.judgements[:half], judged.judgements[half:]), strict=True))
    values = {system: _values(each) for system, each in judgements.items()}
    change = values["tuned"] - values["base"]  # NaN where one of them is
    sums = [weighted_sums(column, np.ones(half), codes) for column in (*values.values(), change)]
    low, high = span_of(np.concatenate([*values.values()]))
    spans = ((low, high), (low, high), (low - high, high - low))
    means = [_mean(estimate(each, span=span)) for each, span in zip(sums, spans, strict=True)]
    systems: dict[str, Any] = {
        system: mean | _counted(values[system], codes) | _reasons(judgements[system])
        for system, mean in zip(SYSTEMS, means[:2], strict=True)
    }
    compared = means[2] | _counted(change, codes)
    return systems | {"difference": compared if compared["rows"] else None}


def _values(judgements: Sequence[Judgement]) -> "Floats":
    import numpy as np

    return np.array([math.nan if each.score is None else each.score for each in judgements])


def _mean(figure: "Estimate | None") -> dict[str, float | None]:
    return {name: figure and round(getattr(figure, name), 6) for name in ("value", "low", "high")}


def _counted(values: "Floats", codes: "Codes") -> dict[str, int]:
    import numpy as np

    counted = ~np.isnan(values)
    return {"rows": int(counted.sum()), "documents": len(np.unique(codes[counted]))}


def _reasons(judgements: Sequence[Judgement]) -> dict[str, Any]:
    reasons = Counter(each.reason for each in judgements if each.reason)
    inapplicable = sum(count for reason, count in reasons.items() if reason in INAPPLICABLE)
    missing = reasons.total() - inapplicable
    wanted = len(judgements) - inapplicable
    return {
        "inapplicable": inapplicable,
        "missing": missing,
        "missing_rate": round(missing / wanted, 6) if wanted else None,
        "reasons": dict(sorted(reasons.items())),
    }
