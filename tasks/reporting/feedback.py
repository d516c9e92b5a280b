"""Back to the author: evaluation rows that are in doubt themselves, and the training rows behind the failures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.rules import Rules, judge
from tasks.data.triplets import Triplet, read_triplets, refusal_of
from tasks.evaluation.metrics import Row
from tasks.evaluation.metrics.grounding import response_support
from tasks.evaluation.slicing.question import holding
from tasks.reporting.similar import Neighbour, Question, nearest_rows
from tasks.text import ContextView, refusal_sentence, words

RULES = ("absent_number", "absent_entity", "answerable_refusal", "partial_refusal", "refusal_wording")
SUPPORT_REMEDY = "say what the context says, in its words, or give the passage that the answer came from"
SAME_QUESTION = 0.8  # share of a question's words that training knows, from which two questions ask the same
OTHER_LENGTH = 2.0  # times as many words: another form of answer
NOTHING_SIMILAR = 0.30  # 97 % of unrelated Wikipedia questions are less similar, and 6 % of the sample's related ones


def doubtful(rows: Path, *, threshold: float, most: int = 50) -> dict[str, Any]:
    """Evaluation rows whose reference itself fails grounding: a model that answers rightly loses points on them.

    A row fails if its reference's support by its own context (`faithfulness`) is less than `threshold`, if it states a
    number or a name that the context does not, if it refuses in part or in other words, or if it is a refusal whose
    context seems to answer the question. These checks compare words, not meaning: look at a listed row.

    Returns {rows, failing, unscored, listed}: how many rows there are, how many fail, how many references have no
    content to look for ("Yes."), and the first `most` of those that fail, each {id, document, query, reference, fails},
    where `fails` lists {what, value, remedy}.
    """
    sentence, rules = refusal_of(rows), Rules()
    count = failing = unscored = 0
    listed: list[dict[str, Any]] = []
    for row in read_triplets(rows):
        count += 1
        refusal, view = refusal_sentence(row.language, sentence), ContextView(row.context, row.language)
        fails = [
            {"what": each.rule, "value": each.value, "remedy": each.remedy}
            for each in judge(row, rules, refusal)
            if each.rule in RULES
        ]
        if not row.refusal:
            support = response_support(Row(row.query, view, row.answer, refusal=refusal))
            unscored += support is None
            if support is not None and support < threshold:
                fails.insert(0, {"what": "support", "value": round(support, 3), "remedy": SUPPORT_REMEDY})
        if fails:
            failing += 1
            if len(listed) < most:
                listed.append(
                    {
                        "id": row.id,
                        "document": row.document,
                        "query": row.query,
                        "reference": row.answer,
                        "fails": fails,
                    }
                )
    return {"rows": count, "failing": failing, "unscored": unscored, "listed": listed}


class Failure(NamedTuple):
    """A row that the tuned model answered badly, and its answer."""

    row: Triplet
    answer: str


def learnt_from(failures: Sequence[Failure], source: Path, *, top: int = 3) -> list[dict[str, Any]]:
    """For each failure the most similar training rows in the folder of triplets `source`.

    Returns per failure {id, document, query, reference, answer, note, nearest}: `note` is None, or says that training
    has nothing similar; `nearest` lists at most `top` of {id, document, query, answer, similarity, question, passage,
    why}, the most similar first. Similarities are shares from 0 to 1 of the failure's words by IDF mass (see
    `Neighbour`), and `why` lists what may have taught the failure.
    """
    questions = [Question(each.row.query, _gold(each.row)) for each in failures]
    found = nearest_rows(questions, source, top=top) if questions else []
    return [_described(failure, nearest) for failure, nearest in zip(failures, found, strict=True)]


def _gold(row: Triplet) -> list[str]:
    """The passages that contain the answer; all of them if none surely does."""
    return [row.context[at] for at in holding(row)] or list(row.context)


def _described(failure: Failure, nearest: Sequence[Neighbour]) -> dict[str, Any]:
    row = failure.row
    closest = nearest[0].similarity if nearest else 0.0
    note = f"training has nothing like it: at most {closest:.2f} of its words" if closest < NOTHING_SIMILAR else None
    return {
        "id": row.id,
        "document": row.document,
        "query": row.query,
        "reference": row.answer,
        "answer": failure.answer,
        "note": note,
        "nearest": [
            {
                "id": each.row.id,
                "document": each.row.document,
                "query": each.row.query,
                "answer": each.row.answer,
                "similarity": round(each.similarity, 3),
                "question": round(each.question, 3),
                "passage": round(each.passage, 3),
                "why": _why(failure, each),
            }
            for each in nearest
        ],
    }


def _why(failure: Failure, nearest: Neighbour) -> list[str]:
    """What in a training row may have taught the failure."""
    row, taught = failure.row, nearest.row
    reasons = []
    if nearest.known >= SAME_QUESTION:
        if taught.refusal and not row.refusal:
            reasons.append("a similar question is refused in training")
        elif row.refusal and not taught.refusal:
            reasons.append("a similar question is answered in training")
        elif not row.refusal:
            here, there = len(words(row.answer, row.language)), len(words(taught.answer, taught.language))
            if max(here, there) >= OTHER_LENGTH * max(1, min(here, there)):
                reasons.append(f"a similar question is answered in another form: {there} words there, {here} here")
    if not taught.refusal and words(failure.answer) == words(taught.answer) != words(row.answer):
        reasons.append("the tuned model gave this row's answer")
    return reasons
