"""What each slice does to the answers of base and tuned, against the same questions untouched."""

from typing import Any

from tasks.engine.errors import UserError
from tasks.evaluation.gating.compare import compare, require_same_rows
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.slicing import SLICES
from tasks.evaluation.statistics import cluster_codes, estimate, span_of, weighted_sums

FIGURES = ("contains_value", "token_f1", "faithfulness", "hallucination", "over_refusal", "abstention_recall")
TELLING = 0.4  # width of an interval; a wider one holds no change and a large one alike


def by_slice(
    base: Scores, tuned: Scores, base_slices: Scores, tuned_slices: Scores, *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """One entry per slice of SLICES, in its order: its figures for both systems, each with its change.

    `base` and `tuned` score the untouched rows, `base_slices` and `tuned_slices` the rows of the slices step.
    An entry: name, label, rows, documents, `telling` (whether one of its figures is), and `figures`, of which each has
    name, label, direction, `telling` (whether the tuned model's interval is at most TELLING wide) and, for `base` and
    for `tuned`, {value, low, high, rows, change}. value, low and high are None where no row counts; change, {value,
    low, high, p, rows}, is None where no row counts on both sides. Where a slice invites a wrong answer, the last
    figure is the share that gave it, which has no change. Figures are rounded to 6 digits.

    Raises UserError if base and tuned are not scored on the same rows, or the slices are of others.
    """
    require_same_rows(base, tuned, ("base", "tuned"))
    require_same_rows(base_slices, tuned_slices, ("the base's slices", "the tuned model's"))
    rows_of: dict[str, list[int]] = {}
    for row, id_ in enumerate(base_slices.ids):
        rows_of.setdefault(id_.partition(":")[0], []).append(row)
    untouched = {id_: row for row, id_ in enumerate(base.ids)}
    entries = []
    for name, slice_ in SLICES.items():
        rows = rows_of.get(name, [])
        ids = [base_slices.ids[row].partition(":")[2] for row in rows]
        if missing := next((id_ for id_ in ids if id_ not in untouched), None):
            raise UserError(
                f"slice {name} contains question {missing!r}, which is not scored untouched", "run `slices` again"
            )
        before = [untouched[id_] for id_ in ids]
        pairs = {
            "base": (_rows(base, before), _rows(base_slices, rows)),
            "tuned": (_rows(tuned, before), _rows(tuned_slices, rows)),
        }
        figures = _figures(pairs, resamples, seed) if rows else []
        if rows and slice_.wrong:  # rows with the same questions that have the wrong answer as their value
            wrong_rows = rows_of.get(f"{name}-{slice_.wrong.name}", [])
            wrong: dict[str, Any] = {"name": slice_.wrong.name, "label": slice_.wrong.label, "direction": "lower"}
            for system, sliced in (("base", base_slices), ("tuned", tuned_slices)):
                scores = _rows(sliced, wrong_rows)
                wrong[system] = _value("contains_value", scores) | {"change": None}
            figures.append(wrong)
        for each in figures:
            each["telling"] = _width(each["tuned"]) <= TELLING
        entries.append(
            {
                "name": name,
                "label": slice_.label,
                "rows": len(rows),
                "documents": len({base_slices.documents[row] for row in rows}),
                "telling": any(each["telling"] for each in figures),
                "figures": figures,
            }
        )
    return entries


def _width(figure: dict[str, Any]) -> float:
    change = figure["change"] or figure
    return float("inf") if change["value"] is None else change["high"] - change["low"]


def _rows(scores: Scores, at: list[int]) -> Scores:
    """The scores of some rows, in that order."""
    ids, documents, digests = ([column[row] for row in at] for column in (scores.ids, scores.documents, scores.rows))
    return Scores(ids, documents, digests, {name: column[at] for name, column in scores.columns.items()})


def _figures(pairs: dict[str, tuple[Scores, Scores]], resamples: int, seed: int) -> list[dict[str, Any]]:
    """Each figure of both systems; `pairs` has the untouched rows and the slice's, question by question."""
    figures: dict[str, dict[str, Any]] = {
        name: {"name": name, "label": METRICS[name].label, "direction": METRICS[name].direction} for name in FIGURES
    }
    for system, (before, now) in pairs.items():
        for compared in compare(before, now, ("before", "now"), resamples=resamples, seed=seed, metrics=FIGURES):
            change = compared.difference
            figures[compared.name][system] = _value(compared.name, now) | {
                "change": change and change.model_dump(include={"value", "low", "high", "p"}) | {"rows": compared.rows}
            }
    return list(figures.values())


def _value(name: str, scores: Scores) -> dict[str, Any]:
    """A figure on all rows that it counts."""
    import numpy as np

    values = scores.columns[name]
    counted = int((~np.isnan(values)).sum())
    if not counted:
        return {"value": None, "low": None, "high": None, "rows": 0}
    sums = weighted_sums(values, scores.weights(name), cluster_codes(scores.documents))
    figure = estimate(sums, span=span_of(values), odds=METRICS[name].odds)
    return {each: figure and round(getattr(figure, each), 6) for each in ("value", "low", "high")} | {"rows": counted}
