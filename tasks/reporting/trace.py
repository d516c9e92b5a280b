"""Where a figure stands in report.json, and which artifacts it was read from."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tasks.reporting.figures import FORMS

if TYPE_CHECKING:
    from markupsafe import Markup

# The first pattern that fits a path names what the value there was read from, as in `made_from`.
SOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("slices.*.base.change.*", ("base scores", "base slices")),
    ("slices.*.tuned.change.*", ("tuned scores", "tuned slices")),
    ("slices.*.base.*", ("base slices",)),
    ("slices.*.tuned.*", ("tuned slices",)),
    ("slices.*", ("slices",)),
    ("judge.*", ("judge",)),
    ("training.*", ("training",)),
    ("learnt_from.*.nearest.*", ("source",)),
    ("learnt_from.*.answer", ("tuned answers",)),
    ("learnt_from.*.note", ("source",)),
    ("lengths.*.base*", ("base answers",)),
    ("lengths.*.tuned*", ("tuned answers",)),
    ("refusals.*.base.*", ("base scores",)),
    ("refusals.*.tuned.*", ("tuned scores",)),
    ("*.base.answer", ("base answers",)),
    ("*.tuned.answer", ("tuned answers",)),
    ("*.base.scores.*", ("base scores",)),
    ("*.tuned.scores.*", ("tuned scores",)),
    ("*.gain", ("base scores", "tuned scores")),
    ("abstention.*", ("gate",)),
    *((f"{part}.*", ("rows",)) for part in ("areas", "best", "worst", "lengths", "doubtful", "learnt_from")),
    *((part, ("rows",)) for part in ("rows", "documents", "unanswerable")),
    ("*", ("gate",)),  # the decision, its verdicts and the comparisons behind them
)


def traced(report: dict[str, Any], path: str, form: str) -> "Markup":
    """The figure at a path as a person reads it, with the path and the artifacts that it was read from."""
    from markupsafe import Markup

    shown = FORMS[form](at(report, path))
    artifacts = [report["made_from"].get(name) or name for name in sources(path)]
    return Markup('<span class="figure" data-path="{}" data-artifact="{}" title="{} in {}">{}</span>').format(
        path, " ".join(key.replace(" ", "-") for key in artifacts), path, ", ".join(artifacts), shown
    )


def at(report: Any, path: str) -> Any:
    """The value at `comparisons.base.token_f1.tuned.value`.

    Each part is a key of an object, or of a list an index or the `name` of one of its objects. Raises LookupError if
    nothing stands there.
    """
    for part in path.split("."):
        if not isinstance(report, list):
            report = report[part]
        elif part.isdecimal():
            report = report[int(part)]
        else:
            report = next((each for each in report if each["name"] == part), None)
            if report is None:
                raise LookupError(f"{path}: nothing is named {part}")
    return report


def sources(path: str) -> tuple[str, ...]:
    """The names in `made_from` of what the value at a path was read from."""
    return next(names for pattern, names in SOURCES if fnmatchcase(path, pattern))
