"""The report as one self-contained HTML page and in Markdown, rendered from report.json."""

import inspect
from fnmatch import fnmatchcase
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.reporting import figures
from tasks.reporting.examples import Piece, supporting, unsupported
from tasks.reporting.plots import forest, lengths, loss_curve
from tasks.reporting.rendering import environment, render

if TYPE_CHECKING:
    from markupsafe import Markup

AGAINST = {"base": ("base", "tuned"), "champion": ("champion", "tuned"), "trained": ("trained", "shipped")}

# The first pattern that matches a path in report.json names the inputs of the step that the value is read from.
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
    *((f"{part}.*", ("rows",)) for part in ("areas", "best", "worst", "lengths", "doubtful", "learnt_from")),
    *((part, ("rows",)) for part in ("rows", "documents", "unanswerable")),
    *((f"{part}.*", ("gate",)) for part in ("abstention", "comparisons", "settings.gate", "summaries", "verdicts")),
    *((part, ("gate",)) for part in ("decision", "headline")),
)


def html(report: dict[str, Any]) -> str:
    """Render a report (as in report.json); every text in it is escaped, nothing is fetched."""
    judges = report["judge"]["judges"] if report["judge"] else []
    verdicts = groupby(enumerate(report["verdicts"]), lambda numbered: numbered[1]["against"])
    refusal = report["refusal"]

    def marked(example: dict[str, Any], which: str) -> list[Piece]:
        """The answer in pieces; what nothing supports is marked."""
        return unsupported(example[which]["answer"], example["context"], example["query"], refusal, example["language"])

    def passages(example: dict[str, Any]) -> list[list[Piece]]:
        """The passages in pieces; what the tuned answer takes from them is marked."""
        return supporting(example["context"], example["tuned"]["answer"], refusal, example["language"])

    page = environment()
    page.globals |= {
        "figure": lambda path, form="share": traced(report, path, form),
        "at": partial(at, report),
        "sources": sources,
    }
    return page.get_template("report/report.html.jinja").render(
        report=report,
        compared={
            against: {
                "names": AGAINST[against],
                "groups": [(name, list(group)) for name, group in groupby(metrics, lambda each: each["group"])],
                "forest": forest(metrics),
            }
            for against, metrics in report["comparisons"].items()
            if metrics
        },
        subjects=figures.SUBJECTS,
        verdicts=[(against, list(numbered)) for against, numbered in verdicts],
        slices={"forest": forest(_changes(report["slices"] or []))},
        judges={"forest": forest([{**each, "name": number} for number, each in enumerate(judges)])},
        curve=loss_curve(report["training"]),
        lengths=lengths(report["lengths"]),
        explained={name: inspect.getdoc(metric.measure) or "" for name, metric in METRICS.items()},  # product text
        labels={name: figures.inline(metric.label) for name, metric in METRICS.items()},
        marked=marked,
        supporting=passages,
    )


def markdown(report: dict[str, Any]) -> str:
    """report.md: the decision, the four areas, every verdict, the slices; the rest is in report.html."""
    metrics = {each["name"]: each for each in report["comparisons"]["base"]}
    leading = [metrics[area["metric"]] for area in report["areas"]]
    return render("report/report.md.jinja", report=report, leading=leading, min_documents=MIN_CLUSTERS)


def evaluation_section(report: dict[str, Any]) -> str:
    """The model card's section on what the gate decided, and how the adapter compares with its base."""
    return render("report/evaluation.md.jinja", report=report)


def traced(report: dict[str, Any], path: str, form: str) -> "Markup":
    """The figure at a path as a person reads it, with the path and the artifacts that it was read from."""
    from markupsafe import Markup

    text = figures.FORMS[form](at(report, path))
    artifacts = [report["made_from"].get(name) or name for name in sources(path)]
    return Markup('<span class="figure" data-path="{}" data-artifact="{}" title="{} in {}">{}</span>').format(
        path, " ".join(key.replace(" ", "-") for key in artifacts), path, ", ".join(artifacts), text
    )


def at(report: Any, path: str) -> Any:
    """The value at `comparisons.base.token_f1.tuned.value`.

    Each part is a key of an object, or of a list an index or the `name` of one of its objects. Raises LookupError if
    there is no such value.
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
    """The names in `made_from` of what the value at a path is read from; LookupError if SOURCES does not say."""
    for pattern, names in SOURCES:
        if fnmatchcase(path, pattern):
            return names
    raise LookupError(f"{path}: SOURCES in tasks/reporting/page.py does not say which input it is read from; add it")


def _changes(slices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The change of each of the tuned model's figures on each slice, for `forest`."""
    return [
        {"name": f"{each['name']}.{figure['name']}", "difference": figure["tuned"]["change"]}
        for each in slices
        for figure in each["figures"]
    ]
