"""What each slice does to the answers of base and tuned, against the same questions untouched."""

from typing import Any, NamedTuple

from tasks.errors import UserError
from tasks.gating.compare import compare
from tasks.metrics.scores import Scores
from tasks.reporting.figures import count, interval, share, signed
from tasks.slicing import SLICES, Wrong

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

    `base` and `tuned` score the untouched rows, `base_slices` and `tuned_slices` the rows of the slices step. An entry
    has name, label, rows, documents and figures. A figure is what `compare` tells of a metric on the slice's rows
    (name, label, direction, rows, base, tuned, difference, …), and `changes`: by system, the difference to the same
    questions untouched, {value, low, high, p, rows, …}, or None where no row counts on both sides. Where a slice
    invites a wrong answer, the last figure is the share that gave it, without changes. No rows, no figures.

    Raises UserError if base and tuned are not scored on the same rows, or the slices are of others.
    """
    if base.ids != tuned.ids or base_slices.ids != tuned_slices.ids:
        raise UserError("base and tuned are scored on different rows", "score both on the same rows and slices")
    places: dict[str, list[int]] = {}
    for at, id_ in enumerate(base_slices.ids):
        places.setdefault(id_.partition(":")[0], []).append(at)
    untouched = {id_: at for at, id_ in enumerate(base.ids)}
    how = _How(resamples, seed)
    entries = []
    for name, slice_ in SLICES.items():
        rows = places.get(name, [])
        ids = [base_slices.ids[at].partition(":")[2] for at in rows]
        if lost := next((id_ for id_ in ids if id_ not in untouched), None):
            raise UserError(f"slice {name} asks {lost!r}, which is not scored untouched", "run `slices` again")
        figures = []
        if rows:
            whole = [untouched[id_] for id_ in ids]
            before = _picked(base, whole), _picked(tuned, whole)
            figures = _figures(before, (_picked(base_slices, rows), _picked(tuned_slices, rows)), how)
        if rows and slice_.wrong:
            gave = places[f"{name}-{slice_.wrong.name}"]
            figures.append(_gave(slice_.wrong, _picked(base_slices, gave), _picked(tuned_slices, gave), how))
        documents = len({base_slices.documents[at] for at in rows})
        told = {"name": name, "label": slice_.label, "rows": len(rows), "documents": documents}
        entries.append(told | {"figures": figures})
    return entries


class _How(NamedTuple):
    resamples: int
    seed: int


def _figures(before: tuple[Scores, Scores], sliced: tuple[Scores, Scores], how: _How) -> list[dict[str, Any]]:
    """Of base and tuned: each figure on the sliced questions, and its change from before, question by question."""
    figures = compare(*sliced, SYSTEMS, metrics=FIGURES, **how._asdict())
    changes = [
        compare(*both, ("untouched", "sliced"), metrics=FIGURES, **how._asdict())
        for both in zip(before, sliced, strict=True)
    ]
    for figure, *of_each in zip(figures, *changes, strict=True):
        figure["changes"] = {
            system: told["difference"] and told["difference"] | {"rows": told["rows"]}
            for system, told in zip(SYSTEMS, of_each, strict=True)
        }
    return figures


def _gave(wrong: Wrong, base: Scores, tuned: Scores, how: _How) -> dict[str, Any]:
    """The share that gave a wrong answer: these rows have its value as theirs."""
    (figure,) = compare(base, tuned, SYSTEMS, metrics=("contains_value",), **how._asdict())
    told = {"name": wrong.name, "label": wrong.label, "direction": "lower", "verdict": "diagnostic"}
    return figure | told | {"changes": dict.fromkeys(SYSTEMS)}


def _picked(scores: Scores, rows: list[int]) -> Scores:
    """The scores of these rows, in this order."""
    ids, documents, digests = ([each[at] for at in rows] for each in (scores.ids, scores.documents, scores.rows))
    return Scores(ids, documents, digests, {name: column[rows] for name, column in scores.columns.items()})


def markdown(entries: list[dict[str, Any]]) -> str:
    """The slices as a table for report.md: a line for each figure that any row counts for."""
    lines = ["| Slice | Figure | Base | Tuned | Change of tuned [95 %] | n |", "|---|---|---:|---:|---:|---:|"]
    for entry in entries:
        label = f"{entry['label']} ({count(entry['rows'])})"
        for figure in [each for each in entry["figures"] if each["rows"]]:
            arrow = {"higher": " ↑", "lower": " ↓"}.get(figure["direction"], "")
            change = figure["changes"]["tuned"]
            told = f"{signed(change['value'])} {interval(change['low'], change['high'])}" if change else "–"
            lines.append(
                f"| {label} | {figure['label']}{arrow} | {share(figure['base']['value'])} "
                f"| {share(figure['tuned']['value'])} | {told} | {count(figure['rows'])} |"
            )
            label = ""
        if label:
            lines.append(f"| {label} | – | – | – | – | 0 |")
    return "\n".join(lines) + f"\n\n{NOTE}"
