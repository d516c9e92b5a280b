"""score: each metric of each answer, and every figure with its interval."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from tasks.data.triplets import Triplet, refusal_of
from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.progress import Progress
from tasks.evaluation.answers import Answer, Answered, answered, first_refusal, read_general_loss
from tasks.evaluation.metrics import METRICS, Row
from tasks.evaluation.metrics.abstention import Key, baselines, contrast_pairs, handled
from tasks.evaluation.metrics.scores import Scores
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES, ContextView, refusal_sentence

Share = Annotated[float, Field(ge=0, le=1)]
BATCH = 64  # rows measured together: chrF takes 26 µs a row instead of 140, and memory does not notice


class ScoreConfig(Config):
    """How answers are scored."""

    hallucination_threshold: Share = Field(
        0.48,
        description="Support under which an answer counts as hallucinated. Of faithful and of hallucinated sentences "
        "pass: 95 and 41 % at .38, 90 and 26 % at .48, 80 and 13 % at .60.",
    )


@step(
    libraries=("numpy", "pyarrow", *TEXT_LIBRARIES, "rapidfuzz", "scipy"),
    resources=LANGUAGE_FILES,
    rowwise=("rows", "answers"),
)
def score(
    config: ScoreConfig, *, rows: Path, answers: Path, earlier: Sequence[Path] = (), out: Path
) -> dict[str, float]:
    """Score `answers` (an answer step's folder) to the questions of `rows` (build's evaluation folder).

    A row that `earlier` scores hold, with the same answer to it, keeps its numbers; the others are measured. What
    looks at several rows together, and every figure, is computed anew.

    Writes scores.arrow: id, document, row (a digest of all that is measured), one nullable float64 column per metric
    of `METRICS` and per weight, should_abstain and handled; and summary.json: every metric's figure with its 95 %
    interval and the number of rows and documents that it counts, and the model's loss on a general text. Returns how
    many rows were taken over and how many measured.

    Raises UserError if the answers are not of these rows, in this order.
    """
    known = _known(earlier)
    scores = measure(config, rows, answers / "answers.arrow", known)
    if not scores.ids:
        raise UserError(f"{rows}: no rows to score", "give evaluation rows, or hold more documents back")
    scores.write(out / "scores.arrow")
    summary = summarise(config, scores) | {"refusal": first_refusal(rows), "general_loss": read_general_loss(answers)}
    (out / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    taken = sum(row in known for row in scores.rows)
    return {"rows_taken_over": taken, "rows_measured": len(scores.rows) - taken}


Known = Mapping[str, tuple[Scores, int]]  # where a row has been measured, by its digest


def _known(earlier: Sequence[Path]) -> Known:
    found: dict[str, tuple[Scores, int]] = {}
    for folder in earlier:
        scores = Scores.read(folder / "scores.arrow")
        for at, row in enumerate(scores.rows):
            found.setdefault(row, (scores, at))
    return found


def measure(config: ScoreConfig, rows: Path, answers: Path, known: Known) -> Scores:
    """Every metric of every row; memory holds numbers alone."""
    import numpy as np

    refusal = refusal_of(rows)
    ids: list[str] = []
    documents: list[str] = []
    digests: list[str] = []
    columns: dict[str, array[float]] = defaultdict(lambda: array("d"))
    pairs: list[tuple[Key, bool, bool]] = []
    for batch in batches(Progress("score").over(answered(rows, answers))):
        named = [_digest(triplet, answer, refusal) for triplet, answer in batch]
        new = [pair for pair, digest in zip(batch, named, strict=True) if digest not in known]
        measured = iter(marks_of(new, refusal, config))
        for (triplet, _), digest in zip(batch, named, strict=True):
            marks = _taken_over(*known[digest]) if digest in known else next(measured)
            ids.append(triplet.id)
            documents.append(triplet.document)
            digests.append(digest)
            for name, mark in marks.items():
                columns[name].append(mark)
            pairs.append(((triplet.document, triplet.query), triplet.refusal, bool(marks["handled"])))
    # Of several rows together, and so never taken over.
    columns["contrast_pairs"] = array("d", [np.nan if right is None else right for right in contrast_pairs(pairs)])
    return Scores(ids, documents, digests, {name: np.frombuffer(column) for name, column in columns.items()})


def _row(triplet: Triplet, answer: Answer, refusal: str | None, config: ScoreConfig) -> Row:
    return Row(
        query=triplet.query,
        context=ContextView(triplet.context, triplet.language),
        answer=answer.text,
        reference=triplet.answer,
        should_abstain=triplet.refusal,
        value=triplet.value,
        refusal=refusal_sentence(triplet.language, refusal),
        truncated=answer.truncated,
        threshold=config.hallucination_threshold,
    )


def _digest(triplet: Triplet, answer: Answer, refusal: str | None) -> str:
    """What names a row: all of it that is measured. 128 bits of SHA-256, hexadecimal."""
    asked = (triplet.query, triplet.context, triplet.answer, triplet.refusal, triplet.value, triplet.language, refusal)
    return sha256_json((*asked, answer.text, answer.truncated))[:32]


def marks_of(batch: Iterable[Answered], refusal: str | None, config: ScoreConfig) -> list[dict[str, float]]:
    """Each row's number in each column; NaN where a metric does not apply."""
    measures = {name: metric.taken or metric.measure for name, metric in METRICS.items() if metric.level == "row"}
    weights = {f"{name}_weight": metric.weight for name, metric in METRICS.items() if metric.weight}
    marked: list[dict[str, Any]] = []
    for triplet, answer in batch:
        row = _row(triplet, answer, refusal, config)
        marks = {name: measure(row) for name, measure in measures.items()}
        marks |= {name: weigh(row) for name, weigh in weights.items()}
        marked.append(marks | {"should_abstain": row.should_abstain, "handled": handled(row)})  # for the contrast pairs
    for name, metric in METRICS.items():
        if metric.together:
            for marks, mark in zip(marked, metric.together([marks[name] for marks in marked]), strict=True):
                marks[name] = mark
    return [{name: math.nan if mark is None else float(mark) for name, mark in marks.items()} for marks in marked]


def batches(answered: Iterable[Answered]) -> Iterator[list[Answered]]:
    """So many rows at once as are measured best together, in order."""
    rest = iter(answered)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _taken_over(scores: Scores, at: int) -> dict[str, float]:
    return {name: column[at] for name, column in scores.columns.items()}


def summarise(config: ScoreConfig, scores: Scores) -> dict[str, Any]:
    """One system's figures, and those of two systems that need no model, to read the abstention figures against."""
    import numpy as np

    from tasks.evaluation.statistics import cluster_codes, estimate, span_of, weighted_sums

    for name, metric in METRICS.items():
        if metric.kind == "rate" and not np.isin(np.nan_to_num(scores.columns[name]), (0, 1)).all():
            raise ValueError(f"{name} is a rate, and a row counts neither 0 nor 1: declare it a mean in METRICS")
    codes = cluster_codes(scores.documents)
    metrics: dict[str, Any] = {}
    for name, metric in METRICS.items():
        span = span_of(scores.columns[name]) if metric.kind == "mean" else (0.0, 1.0)
        figure = estimate(weighted_sums(scores.columns[name], scores.weights(name), codes), span=span, odds=metric.odds)
        counted = ~np.isnan(scores.columns[name])
        metrics[name] = {
            "value": figure and round(figure.value, 6),
            "low": figure and round(figure.low, 6),
            "high": figure and round(figure.high, 6),
            "rows": int(counted.sum()),
            "documents": len(np.unique(codes[counted])),
        }
    return {
        "rows": len(scores.ids),
        "documents": int(codes.max()) + 1,
        "metrics": metrics,
        "baselines": baselines(float(scores.columns["should_abstain"].mean())),
    }
