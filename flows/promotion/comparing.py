"""Two adapters side by side, by scores that are in the store already: nothing is answered or scored for it."""

from collections.abc import Iterator
from typing import Any

from flows.promotion.judged import adapter_of, weights
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.store import Store

BASE = "base"  # the base model, where an adapter might stand
RESAMPLES, SEED = 10_000, 0


def compare(store: Store, first: str, second: str) -> dict[str, Any]:
    """{"names", "scores", "rows", "documents", "metrics": an entry per metric}; what differs most surely comes first.

    Each of the two is an adapter, a gate, a report or scores, by key or alias, or `base`. UserError if the store has no
    scores of both on the same rows by the same metrics.
    """
    from tasks.evaluation.gating.compare import compare as compared
    from tasks.evaluation.gating.decision import plain
    from tasks.evaluation.metrics.scores import Scores

    of_first, of_second = _common(store, first, second)
    one, other = (Scores.read(each.folder / "scores.arrow") for each in (of_first, of_second))
    entries = compared(one, other, ("first", "second"), resamples=RESAMPLES, seed=SEED)
    return {
        "names": [first, second],
        "scores": [of_first.about, of_second.about],
        "rows": len(one.ids),
        "documents": len(set(one.documents)),
        "metrics": plain(sorted(entries, key=lambda entry: entry.verdict not in ("better", "worse"))),
    }


def _common(store: Store, first: str, second: str) -> tuple[Artifact, Artifact]:
    """The newest scores of both that can be compared."""
    found = {name: list(_scores(store, name)) for name in (first, second)}
    for name, scores in found.items():
        if not scores:
            raise UserError(f"{name}: the store has no scores of it", "score it: `reground retrain` with its config")
    pairs = [(one, other) for one in found[first] for other in found[second]]
    same_rows = [pair for pair in pairs if _rows(pair[0]) == _rows(pair[1])]
    if not same_rows:
        rows = " and ".join(f"{name} on {' or '.join(sorted(map(_told, found[name])))}" for name in (first, second))
        raise UserError(
            f"{first} and {second} were scored on different rows: {rows}",
            "run `reground retrain`: it has the champion answer the same questions as the new adapter",
        )
    alike = [pair for pair in same_rows if _measured(pair[0]) == _measured(pair[1])]
    if not alike:
        raise UserError(
            f"{first} and {second} were scored on the same rows, but not by the same metrics or settings",
            "run `reground retrain`: it scores both anew; no answer is generated again",
        )
    return alike[0]


def _scores(store: Store, name: str) -> Iterator[Artifact]:
    """Every score artifact of what the name means, newest first."""
    if name == BASE:
        yield from _of_weights(store, None)
        return
    named = store.match(name)
    if named.step == "score":
        yield named
    elif named.step in ("gate", "report"):
        scores = named.input_artifact("tuned_scores")
        yield from [scores] if scores and store.find(scores.step, scores.key) else []
    else:
        yield from _of_weights(store, weights(named))


def _of_weights(store: Store, wanted: str | None) -> Iterator[Artifact]:
    for scores in reversed(store.all("score")):
        known, adapter = adapter_of(scores)
        if known and adapter == wanted and store.find(scores.step, scores.key):
            yield scores


def _rows(scores: Artifact) -> str:
    rows = scores.record.inputs["rows"]
    return (rows.digest if rows else None) or ""


def _told(scores: Artifact) -> str:
    rows = scores.record.inputs["rows"]
    return f"{rows.step}/{rows.key[:16]}" if rows and rows.step and rows.key else _rows(scores)[:16]


def _measured(scores: Artifact) -> dict[str, Any]:
    """How they were measured: all of the key but the inputs."""
    return {name: each for name, each in scores.record.payload.items() if name != "inputs"}
