"""What each slice does to the answers of base and tuned, against the same questions untouched."""

from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.errors import UserError
from tasks.metrics import METRICS
from tasks.metrics.scores import Scores
from tasks.reporting.figures import count, interval, share, signed
from tasks.slicing import SLICES, Slice
from tasks.statistics import bootstrap, cluster_codes, difference, estimate, weighted_sums, wilson

if TYPE_CHECKING:
    from tasks.statistics import Floats

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
    for `tuned`, {value, low, high, wilson, rows, change}. value, low, high and wilson (of a rate) are None where no row
    counts; change, {value, low, high, p, rows}, is None where no row counts on both sides. Where a slice invites a
    wrong answer, the last figure is the share that gave it, which has no change. Figures are rounded to 6 digits.

    Raises UserError if base and tuned are not scored on the same rows, or the slices are of others.
    """
    if base.ids != tuned.ids or base_slices.ids != tuned_slices.ids:
        raise UserError("base and tuned are scored on different rows", "score both on the same rows and slices")
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
        columns = {
            figure: [
                _column(figure, sliced, rows, scores, whole)
                for scores, sliced in ((base, base_slices), (tuned, tuned_slices))
            ]
            for figure in FIGURES
        }
        if slice_.wrong:  # the rows asked again, with the wrong answer's value as theirs
            gave = places.get(f"{name}-{slice_.wrong.name}", [])
            columns[slice_.wrong.name] = [
                _column("contains_value", sliced, gave) for sliced in (base_slices, tuned_slices)
            ]
        documents = [base_slices.documents[at] for at in rows]
        figures = _figures(slice_, columns, documents, resamples, seed) if rows else []
        told = {"name": name, "label": slice_.label, "rows": len(rows), "documents": len(set(documents))}
        entries.append(told | {"figures": figures})
    return entries


class _Column(NamedTuple):
    """A metric's values and weights on a slice's rows; and on the same questions untouched, NaN unless both count."""

    now: "Floats"
    weights: "Floats"
    before: "Floats"
    before_weights: "Floats"

    @property
    def now_paired(self) -> "Floats":
        import numpy as np

        return np.where(np.isnan(self.before), np.nan, self.now)


def _column(
    name: str, sliced: Scores, rows: list[int], scores: Scores | None = None, whole: list[int] | None = None
) -> _Column:
    import numpy as np

    now, weights = sliced.columns[name][rows], sliced.weights(name)[rows]
    if not scores:
        return _Column(now, weights, np.full(len(rows), np.nan), weights)
    before = scores.columns[name][whole]
    return _Column(now, weights, np.where(np.isnan(now), np.nan, before), scores.weights(name)[whole])


def _figures(
    slice_: Slice, columns: dict[str, list[_Column]], documents: list[str], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Each figure of both systems, over one set of draws."""
    import numpy as np

    codes = cluster_codes(documents)
    sums = [
        weighted_sums(values, weights, codes)
        for both in columns.values()
        for column in both
        for values, weights in (
            (column.now, column.weights),
            (column.before, column.before_weights),
            (column.now_paired, column.weights),
        )
    ]
    drawn = np.split(bootstrap(np.concatenate(sums, axis=1), resamples=resamples, seed=seed), len(sums), axis=1)
    told, place = [], 0
    for name, both in columns.items():
        wrong = slice_.wrong if slice_.wrong and slice_.wrong.name == name else None
        metric = METRICS["contains_value" if wrong else name]
        figure: dict[str, Any] = {
            "name": name,
            "label": wrong.label if wrong else metric.label,
            "direction": "lower" if wrong else metric.direction,
        }
        for system, column in zip(SYSTEMS, both, strict=True):
            now, before, paired = range(place, place + 3)
            place += 3
            rate = metric.binary and not metric.weight
            figure[system] = _value(estimate(sums[now], drawn[now]), column.now, rate=rate)
            change = difference(sums[before], sums[paired], drawn[before], drawn[paired])
            figure[system]["change"] = change and {
                **{each: round(getattr(change, each), 6) for each in ("value", "low", "high", "p")},
                "rows": int((~np.isnan(column.before)).sum()),
            }
        told.append(figure)
    return told


def _value(figure: Any, values: "Floats", *, rate: bool) -> dict[str, Any]:
    import numpy as np

    counted = values[~np.isnan(values)]
    told = {each: figure and round(getattr(figure, each), 6) for each in ("value", "low", "high")}
    ends = wilson(int(counted.sum()), len(counted)) if rate and len(counted) else None
    return told | {"wilson": ends and [round(end, 6) for end in ends], "rows": len(counted)}


def markdown(entries: list[dict[str, Any]]) -> str:
    """The slices as a table for report.md: a line for each figure that any row counts for."""
    lines = ["| Slice | Figure | Base | Tuned | Change of tuned [95 %] | n |", "|---|---|---:|---:|---:|---:|"]
    for entry in entries:
        label = f"{entry['label']} ({count(entry['rows'])})"
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
