"""Two adapters side by side, from scores that are in the store: nothing is answered or scored for it."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows.promotion.candidates import asked, find, scored_weights, weights
from tasks.engine.errors import UserError
from tasks.engine.record import Origin, Record
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.decision import Comparison

BASE, SHOTS = "base", "base_shots"  # the base model, instead of an adapter, and with examples in its prompt
SLICES = "slices"  # the step that makes harder questions of the evaluation's
RESAMPLES, SEED = 10_000, 0


class SideBySide(BaseModel):
    """Two sets of scores on the same rows; the metrics that surely differ come first."""

    model_config = ConfigDict(frozen=True)

    names: tuple[str, str]
    scores: tuple[str, str]
    questions: str  # the evaluation set, such as build/7f032c7350a1900b/evaluation
    rows: int
    documents: int
    metrics: list[Comparison]


def compare(store: Store, first: str, second: str) -> SideBySide:
    """Each of the two is an adapter, a gate, a report or scores, by key or alias, or `base`
    (`base_shots`: with the examples of answer.shots).

    On evaluation questions, unless scores of others are named. UserError if the store has no scores of both on the
    same questions, answered and measured alike, or has them on several evaluation sets.
    """
    from tasks.evaluation.gating.compare import compare as compare_scores
    from tasks.evaluation.metrics.scores import Scores

    pair = _common(store, first, second)
    one, other = (Scores.read(each.folder / "scores.arrow") for each in pair)
    metrics = compare_scores(one, other, ("first", "second"), resamples=RESAMPLES, seed=SEED)
    return SideBySide(
        names=(first, second),
        scores=(pair[0].about, pair[1].about),
        questions=asked(pair[0]).about,
        rows=len(one.ids),
        documents=len(set(one.documents)),
        metrics=sorted(metrics, key=lambda metric: metric.verdict not in ("better", "worse")),
    )


def _common(store: Store, first: str, second: str) -> tuple[Artifact, Artifact]:
    """The scores of both that can be compared: the newest, as trained rather than as shipped."""
    found = {name: _scores(store, name) for name in (first, second)}
    named = any(exact for exact, _ in found.values())
    usable = {
        name: [each for each in scores if named or asked(each).step != SLICES] for name, (_, scores) in found.items()
    }
    for name, scores in usable.items():
        if not scores:
            raise UserError(
                f"{name}: the store has no scores of it on evaluation questions",
                "score it: `reground retrain` with its config",
            )
    pairs = [(one, other) for one in usable[first] for other in usable[second]]
    same_rows = [(one, other) for one, other in pairs if asked(one).digest == asked(other).digest]
    if not same_rows:
        sets = " and ".join(
            f"{name} on {' or '.join(sorted({asked(each).about for each in usable[name]}))}" for name in usable
        )
        raise UserError(
            f"{first} and {second} were scored on different rows: {sets}",
            "run `reground retrain`: it has the champion answer the same questions as the new adapter",
        )
    alike = [pair for pair in same_rows if _alike(*pair, one_base=bool({BASE, SHOTS} & {first, second}))]
    if not alike:
        raise UserError(
            f"{first} and {second} were scored on the same rows, but answered or measured by other settings",
            "run `reground retrain`: it scores both again, and has them answer again only if it must",
        )
    alike.sort(key=lambda pair: bool(_answers(pair[0])["config"].get("merge")))
    by_rows = {asked(pair[0]).digest: pair for pair in reversed(alike)}
    if len(by_rows) > 1:
        sets = ", ".join(asked(one).about for one, _ in by_rows.values())
        one, other = alike[0]
        raise UserError(
            f"{first} and {second} were both scored on {len(by_rows)} evaluation sets: {sets}",
            f"name the scores on one; on the newest: `reground compare {one.about} {other.about}`",
        )
    return alike[0]


def _scores(store: Store, name: str) -> tuple[bool, list[Artifact]]:
    """The scores of what the name means, newest first, and whether it means just these."""
    if name in (BASE, SHOTS):
        return False, [each for each in _scores_of(store, None) if _answers(each)["shots"] == (name == SHOTS)]
    named = find(store, name)
    if named.step == "score":
        return True, [named]
    if named.step in ("gate", "report"):
        scores = named.input_artifact("tuned_scores")
        return True, [scores] if scores and store.find(scores.step, scores.key) else []
    return False, list(_scores_of(store, weights(named)))


def _scores_of(store: Store, wanted: str | None) -> Iterator[Artifact]:
    for scores in reversed(store.all("score")):
        if scored_weights(scores) == (True, wanted) and store.find(scores.step, scores.key):
            yield scores


def _alike(one: Artifact, other: Artifact, *, one_base: bool) -> bool:
    """Whether both were answered and measured by the same settings; with `one_base` from the same base model, too."""
    same_settings = _settings(one) == _settings(other)
    answers, others = _answers(one), _answers(other)
    same_base = answers["from"] == others["from"] or not one_base
    return same_settings and same_base and answers["config"] == others["config"]


def _settings(scores: Artifact) -> dict[str, Any]:
    """All of the key but the inputs: the metrics and how they were computed."""
    return {name: each for name, each in scores.record.payload.items() if name != "inputs"}


def _answers(scores: Artifact) -> dict[str, Any]:
    """How the answers were made, as their key tells it: the config, and by digest the base model and the template."""
    answers = scores.input_artifact("answers")
    record = answers.record if answers else Record()
    made_from = [(record.inputs.get(name) or Origin()).digest for name in ("base", "template")]
    shots = record.inputs.get("shots") is not None
    return {"config": record.payload.get("config", {}), "from": made_from, "shots": shots}
