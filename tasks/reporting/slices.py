"""What each slice does to the answers of base and tuned, against the same questions untouched."""

from typing import Any

from tasks.engine.errors import UserError
from tasks.evaluation.gating.compare import compare, require_same_rows
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.slicing import SLICES
from tasks.evaluation.statistics import bootstrap, cluster_codes, estimate, rate, weighted_sums
from tasks.reporting.figures import count, interval, share, short, signed

FIGURES = ("contains_value", "token_f1", "faithfulness", "hallucination", "over_refusal", "abstention_recall")
SYSTEMS = ("base", "tuned")
NOTE = (
    "Change: the tuned model's figure less its figure for the same questions untouched, with a 95 % interval over "
    "source documents. Where the right answer has changed, to a refusal or to another value, a change tells how the "
    "questions differ as well. ↑ higher is better, ↓ lower. n: questions that the figure counts."
)


def by_slice(
    base: Scores, tuned: Scores, base_slices: Scores, tuned_slices: Scores, *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """One entry per slice of SLICES, in its order: its figures for both systems, each with its change.

    `base` and `tuned` score the untouched rows, `base_slices` and `tuned_slices` the rows of the slices step.
    An entry: name, label, rows, documents, and `figures`, of which each has name, label, direction and, for `base` and
    for `tuned`, {value, low, high, rows, change}. value, low and high are None where no row counts; change, {value,
    low, high, p, rows}, is None where no row counts on both sides. Where a slice invites a wrong answer, the last
    figure is the share that gave it, which has no change. Figures are rounded to 6 digits.

    Raises UserError if base and tuned are not scored on the same rows, or the slices are of others.
    """
    require_same_rows(base, tuned, ("base", "tuned"))
    require_same_rows(base_slices, tuned_slices, ("the base's slices", "the tuned model's"))
    places: dict[str, list[int]] = {}
    for at, id_ in enumerate(base_slices.ids):
        places.setdefault(id_.partition(":")[0], []).append(at)
    untouched = {id_: at for at, id_ in enumerate(base.ids)}
    entries = []
    for name, slice_ in SLICES.items():
        rows = places.get(name, [])
        ids = [base_slices.ids[at].partition(":")[2] for at in rows]
        if lost := next((id_ for id_ in ids if id_ not in untouched), None):
            raise UserError(f"slice {name} asks {lost!r}, which is not scored untouched", "run `slices` again")
        whole = [untouched[id_] for id_ in ids]
        pairs = {
            system: (_rows(scores, whole), _rows(sliced, rows))
            for system, scores, sliced in (("base", base, base_slices), ("tuned", tuned, tuned_slices))
        }
        figures = _figures(pairs, resamples, seed) if rows else []
        if rows and slice_.wrong:  # the rows asked again, with the wrong answer's value as theirs
            gave = places.get(f"{name}-{slice_.wrong.name}", [])
            wrong: dict[str, Any] = {"name": slice_.wrong.name, "label": slice_.wrong.label, "direction": "lower"}
            for system, sliced in zip(SYSTEMS, (base_slices, tuned_slices), strict=True):
                wrong[system] = _value("contains_value", _rows(sliced, gave), resamples, seed) | {"change": None}
            figures.append(wrong)
        documents = len({base_slices.documents[at] for at in rows})
        told = {"name": name, "label": slice_.label, "rows": len(rows), "documents": documents}
        entries.append(told | {"figures": figures})
    return entries


def _rows(scores: Scores, at: list[int]) -> Scores:
    """The scores of some rows, in that order."""
    ids, documents, digests = ([column[row] for row in at] for column in (scores.ids, scores.documents, scores.rows))
    return Scores(ids, documents, digests, {name: column[at] for name, column in scores.columns.items()})


def _figures(pairs: dict[str, tuple[Scores, Scores]], resamples: int, seed: int) -> list[dict[str, Any]]:
    """Each figure of both systems; `pairs` has the untouched rows and the slice's, question by question."""
    told: dict[str, dict[str, Any]] = {
        name: {"name": name, "label": METRICS[name].label, "direction": METRICS[name].direction} for name in FIGURES
    }
    for system, (before, now) in pairs.items():
        for entry in compare(before, now, ("before", "now"), resamples=resamples, seed=seed, metrics=FIGURES):
            change = entry["difference"]
            told[entry["name"]][system] = _value(entry["name"], now, resamples, seed) | {
                "change": change
                and {**{each: change[each] for each in ("value", "low", "high", "p")}, "rows": entry["rows"]}
            }
    return list(told.values())


def _value(name: str, scores: Scores, resamples: int, seed: int) -> dict[str, Any]:
    """A figure on all rows that it counts."""
    import numpy as np

    values = scores.columns[name]
    counted = int((~np.isnan(values)).sum())
    if not counted:
        return {"value": None, "low": None, "high": None, "rows": 0}
    sums = weighted_sums(values, scores.weights(name), cluster_codes(scores.documents))
    if METRICS[name].binary:
        figure = rate(sums, odds=METRICS[name].odds)
    else:
        figure = estimate(sums, bootstrap(sums, resamples=resamples, seed=seed))
    return {each: figure and round(getattr(figure, each), 6) for each in ("value", "low", "high")} | {"rows": counted}


def markdown(entries: list[dict[str, Any]]) -> str:
    """The slices as a table for report.md: a line for each figure that any row counts for."""
    lines = ["| Slice | Figure | Base | Tuned | Change of tuned [95 %] | n |", "|---|---|---:|---:|---:|---:|"]
    for entry in entries:
        label = f"{entry['label']} ({count(entry['rows'])}{_added(entry)})"
        for figure in [each for each in entry["figures"] if any(each[system]["rows"] for system in SYSTEMS)]:
            arrow = {"higher": " ↑", "lower": " ↓"}.get(figure["direction"], "")
            change = figure["tuned"]["change"]
            told = f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"
            lines.append(
                f"| {label} | {figure['label']}{arrow} | {share(figure['base']['value'])} "
                f"| {share(figure['tuned']['value'])} | {told} | {count(figure['tuned']['rows'])} |"
            )
            label = ""
        if label:
            lines.append(f"| {label} | – | – | – | – | 0 |")
    return "\n".join(lines) + f"\n\n{NOTE}"


def _added(entry: dict[str, Any]) -> str:
    """How many passages were really added, where any were: what does not fit is not."""
    added, of_all = entry.get("added"), entry.get("added_share")
    if not added or not of_all or not added["median"]:
        return ""
    told = "; passages added: {}, at least {}; of all: {}, at least {}"
    return told.format(*map(short, added.values()), *map(share, of_all.values()))
