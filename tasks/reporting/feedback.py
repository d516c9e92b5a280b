"""Back to the author: evaluation rows that are in doubt themselves, and the training rows behind the failures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.dataset.refusal import refusal_of
from tasks.data.rules.row import judge
from tasks.data.rules.table import REMEDIES, Rules
from tasks.data.triplets import Triplet, read_triplets
from tasks.evaluation.metrics import Row
from tasks.evaluation.metrics.faithfulness import response_support
from tasks.evaluation.slicing.holding import holding
from tasks.reporting.alike import Asked, Like, most_alike
from tasks.text import ContextView, words

RULES = ("absent_number", "absent_entity", "answerable_refusal", "partial_refusal", "refusal_wording")
SUPPORT_REMEDY = "say what the context says, in its words, or give the passage that the answer came from"
SAME_QUESTION = 0.8  # share of a question's words, as far as training knows them, from which two questions ask alike
OTHER_LENGTH = 2.0  # times as many words: another form of answer
NOTHING_ALIKE = 0.30  # similarity; 97 % of unrelated Wikipedia questions lie under it, 6 % of the sample's related ones


def doubtful(rows: Path, *, threshold: float, most: int = 50) -> dict[str, Any]:
    """Evaluation rows whose reference itself fails grounding: a model that answers rightly would be marked down.

    A row fails if its reference's support by its own context (`faithfulness`) is under `threshold`, if it states a
    number or a name that the context does not, if it refuses in part or in other words, or if it is a refusal whose
    context seems to answer the question. All of these see words, not meaning: a row listed here is to be looked at.

    Returns {rows, failing, unscored, listed}: how many rows there are, how many fail, how many references have no
    content to look for ("Yes."), and the first `most` of those that fail, each {id, document, query, reference, fails},
    where `fails` lists {what, value, remedy}.
    """
    sentence, rules = refusal_of(rows), Rules()
    count = failing = unscored = 0
    listed: list[dict[str, Any]] = []
    for row in read_triplets(rows):
        count += 1
        fails = [
            {"what": each.rule, "value": each.value, "remedy": REMEDIES[each.rule]}
            for each in judge(row, rules, sentence)
            if each.rule in RULES
        ]
        if not row.refusal:
            said = Row(row.query, ContextView(row.context), row.answer, refusal=sentence)
            support = response_support(said)
            unscored += support is None
            if support is not None and support < threshold:
                fails.insert(0, {"what": "support", "value": round(support, 3), "remedy": SUPPORT_REMEDY})
        if fails:
            failing += 1
            if len(listed) < most:
                told = {"id": row.id, "document": row.document, "query": row.query, "reference": row.answer}
                listed.append(told | {"fails": fails})
    return {"rows": count, "failing": failing, "unscored": unscored, "listed": listed}


class Failure(NamedTuple):
    """A row that the tuned model answered badly, and what it answered."""

    row: Triplet
    answer: str


def learnt_from(failures: Sequence[Failure], source: Path, *, top: int = 3) -> list[dict[str, Any]]:
    """For each failure the training rows in the folder of triplets `source` that are most like it.

    Returns per failure {id, document, query, reference, answer, note, nearest}: `note` is None, or says that training
    has nothing like it; `nearest` lists at most `top` of {id, document, query, answer, similarity, question, passage,
    why}, the likest first. Similarities are shares from 0 to 1 of the failure's words by IDF mass (see `alike`), and
    `why` lists what may have taught the failure.
    """
    asked = [Asked(each.row.query, _gold(each.row)) for each in failures]
    found = most_alike(asked, source, top=top) if asked else []
    return [_told(failure, nearest) for failure, nearest in zip(failures, found, strict=True)]


def _gold(row: Triplet) -> list[str]:
    """The passages that hold the answer; all of them where none surely does."""
    return [row.context[at] for at in holding(row)] or list(row.context)


def _told(failure: Failure, nearest: Sequence[Like]) -> dict[str, Any]:
    row = failure.row
    closest = nearest[0].similarity if nearest else 0.0
    return {
        "id": row.id,
        "document": row.document,
        "query": row.query,
        "reference": row.answer,
        "answer": failure.answer,
        "note": None
        if closest >= NOTHING_ALIKE
        else f"training has nothing like it: at most {closest:.2f} of its words",
        "nearest": [
            {
                "id": like.id,
                "document": like.document,
                "query": like.query,
                "answer": like.answer,
                "similarity": round(like.similarity, 3),
                "question": round(like.question, 3),
                "passage": round(like.passage, 3),
                "why": _why(failure, like),
            }
            for like in nearest
        ],
    }


def _why(failure: Failure, like: Like) -> list[str]:
    """What in a training row may have taught the failure."""
    row = failure.row
    told = []
    if like.asks >= SAME_QUESTION:
        if like.refusal and not row.refusal:
            told.append("a like question is refused in training")
        elif row.refusal and not like.refusal:
            told.append("a like question is answered in training")
        elif not row.refusal:
            here, there = len(words(row.answer)), len(words(like.answer))
            if max(here, there) >= OTHER_LENGTH * max(1, min(here, there)):
                told.append(f"a like question is answered in another form: {there} words there, {here} here")
    if not like.refusal and words(failure.answer) == words(like.answer) != words(row.answer):
        told.append("the tuned model gave this row's answer")
    return told
