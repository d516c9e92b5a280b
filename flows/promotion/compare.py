"""Two adapters side by side, from scores that are in the store: nothing is answered or scored for it."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows.promotion.candidates import find, scored_weights, weights
from tasks.engine.errors import UserError
from tasks.engine.record import Origin
from tasks.engine.storage.artifact import SHORT, Artifact
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.decision import Comparison

BASE = "base"  # the base model, instead of an adapter
RESAMPLES, SEED = 10_000, 0


class SideBySide(BaseModel):
    """Two sets of scores on the same rows; the metrics that surely differ come first."""

    model_config = ConfigDict(frozen=True)

    names: tuple[str, str]
    scores: tuple[str, str]
    rows: int
    documents: int
    metrics: list[Comparison]


def compare(store: Store, first: str, second: str) -> SideBySide:
    """Each of the two is an adapter, a gate, a report or scores, by key or alias, or `base`.

    UserError if the store has no scores of both on the same rows by the same metrics.
    """
    from tasks.evaluation.gating.compare import compare as compare_scores
    from tasks.evaluation.metrics.scores import Scores

    pair = _common(store, first, second)
    one, other = (Scores.read(each.folder / "scores.arrow") for each in pair)
    metrics = compare_scores(one, other, ("first", "second"), resamples=RESAMPLES, seed=SEED)
    return SideBySide(
        names=(first, second),
        scores=(pair[0].about, pair[1].about),
        rows=len(one.ids),
        documents=len(set(one.documents)),
        metrics=sorted(metrics, key=lambda metric: metric.verdict not in ("better", "worse")),
    )


def _common(store: Store, first: str, second: str) -> tuple[Artifact, Artifact]:
    """The newest scores of both that can be compared."""
    found = {name: list(_scores(store, name)) for name in (first, second)}
    for name, scores in found.items():
        if not scores:
            raise UserError(f"{name}: the store has no scores of it", "score it: `reground retrain` with its config")
    pairs = [(one, other) for one in found[first] for other in found[second]]
    same_rows = [(one, other) for one, other in pairs if _rows(one).digest == _rows(other).digest]
    if not same_rows:
        rows = " and ".join(f"{name} on {' or '.join(sorted(map(_rows_name, found[name])))}" for name in found)
        raise UserError(
            f"{first} and {second} were scored on different rows: {rows}",
            "run `reground retrain`: it has the champion answer the same questions as the new adapter",
        )
    comparable = [(one, other) for one, other in same_rows if _settings(one) == _settings(other)]
    if not comparable:
        raise UserError(
            f"{first} and {second} were scored on the same rows, but not by the same metrics or settings",
            "run `reground retrain`: it scores both again; no answer is generated again",
        )
    return comparable[0]


def _scores(store: Store, name: str) -> Iterator[Artifact]:
    """Every score artifact of what the name means, newest first."""
    if name == BASE:
        yield from _scores_of(store, None)
        return
    named = find(store, name)
    if named.step == "score":
        yield named
    elif named.step in ("gate", "report"):
        scores = named.input_artifact("tuned_scores")
        yield from [scores] if scores and store.find(scores.step, scores.key) else []
    else:
        yield from _scores_of(store, weights(named))


def _scores_of(store: Store, wanted: str | None) -> Iterator[Artifact]:
    for scores in reversed(store.all("score")):
        if scored_weights(scores) == (True, wanted) and store.find(scores.step, scores.key):
            yield scores


def _rows(scores: Artifact) -> Origin:
    return scores.record.inputs["rows"] or Origin()


def _rows_name(scores: Artifact) -> str:
    rows = _rows(scores)
    return f"{rows.step}/{rows.key[:SHORT]}" if rows.step and rows.key else str(rows.digest)[:SHORT]


def _settings(scores: Artifact) -> dict[str, Any]:
    """All of the key but the inputs: the metrics and how they were computed."""
    return {name: each for name, each in scores.record.payload.items() if name != "inputs"}
