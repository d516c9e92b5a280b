"""The report as one self-contained HTML page and in Markdown, rendered from report.json."""

import inspect
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS
from tasks.reporting import figures
from tasks.reporting.examples import Piece, passages, unsupported
from tasks.reporting.outcomes import OUTCOMES
from tasks.reporting.plots import forest, loss_curve
from tasks.reporting.rendering import environment, render

if TYPE_CHECKING:
    from markupsafe import Markup

AGAINST = {name: (name, "tuned") for name in ("base", "base_shots", "champion", "best")} | {
    "trained": ("trained", "shipped")
}

SOURCES = Path(__file__).parent / "templates/report/sources.yaml"


def html(report: dict[str, Any]) -> str:
    """Render a report (as in report.json); every text in it is escaped, nothing is fetched."""
    judges = report["judge"]["judges"] if report["judge"] else []
    verdicts = groupby(enumerate(report["verdicts"]), lambda numbered: numbered[1]["against"])

    def marked(row: dict[str, Any], which: str) -> list[Piece]:
        """An answer in pieces; what nothing supports is marked."""
        told = row[which]["answer"], row["context"], row["query"]
        return unsupported(*told, report["refusal"], row["language"])

    def context(row: dict[str, Any]) -> list[list[Piece]]:
        """The passages in pieces; what the tuned answer takes from them is marked, and what it should have taken."""
        told = row["context"], row["tuned"]["answer"], row["reference"]
        return passages(*told, report["refusal"], row["language"])

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
                "title": _compared(against),
                "groups": [(name, list(group)) for name, group in groupby(metrics, lambda each: each["group"])],
                "forest": forest(metrics),
            }
            for against, metrics in report["comparisons"].items()
            if metrics
        },
        subjects=figures.SUBJECTS,
        verdicts=[(against, list(numbered)) for against, numbered in verdicts],
        slices={"forest": forest(_changes([each for each in report["slices"] or [] if each["telling"]]))},
        judges={"forest": forest([{**each, "name": number} for number, each in enumerate(judges)])},
        curve=loss_curve(report["training"]),
        explained={name: inspect.getdoc(metric.measure) or "" for name, metric in METRICS.items()},  # product text
        labels={name: figures.inline(metric.label) for name, metric in METRICS.items()},
        marked=marked,
        context=context,
        bars=bars(report),
        contents=[(anchor, title) for anchor, title, there in _contents(report) if there],
    )


def markdown(report: dict[str, Any]) -> str:
    """report.md: the decision, the outcomes, every verdict, the slices; the rest is in report.html."""
    return render("report/report.md.jinja", report=report, min_documents=MIN_CLUSTERS)


def evaluation_section(report: dict[str, Any]) -> str:
    """The model card's section on what the gate decided, and how the adapter compares with its base."""
    return render("report/evaluation.md.jinja", report=report)


def traced(report: dict[str, Any], path: str, form: str) -> "Markup":
    """The figure at a path as a person reads it, with the path and the artifacts that it was read from."""
    from markupsafe import Markup

    text = figures.FORMS[form](at(report, path))
    artifacts = [report["made_from"].get(name) or name for name in sources(path)]
    named = (
        Markup(' data-artifact="{}"').format(" ".join(key.replace(" ", "-") for key in artifacts)) if artifacts else ""
    )
    return Markup('<span class="figure" data-path="{}"{} title="{} in {}">{}</span>').format(
        path, named, path, ", ".join(artifacts) or "report.json", text
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


def sources(path: str) -> list[str]:
    """The names in `made_from` of what the value at a path is read from; LookupError if sources.yaml does not say."""
    for pattern, names in _sources():
        if fnmatchcase(path, pattern):
            return names
    raise LookupError(f"{path}: {SOURCES.name} does not say which input of the report it is read from; add it there")


@cache
def _sources() -> list[tuple[str, list[str]]]:
    import yaml

    return list(yaml.safe_load(SOURCES.read_text(encoding="utf-8")).items())


def _contents(report: dict[str, Any]) -> list[tuple[str, str, object]]:
    """The page's sections: anchor, title, and whether there is one."""
    metrics = report["comparisons"]
    compared = [(f"metrics-{name}", f"Every metric: {_compared(name)}", each) for name, each in metrics.items()]
    return [
        ("mistakes", "What it got wrong", True),
        ("answers", "All answers", report["answers"]),
        ("rules", "Rules of the gate", True),
        *compared,
        ("harder", "Harder questions", any(each["telling"] for each in report["slices"] or [])),
        ("training", "Refusing and training", True),
        ("judges", "What judges say", report["judge"]),
        ("strata", "How far support can be trusted", True),
        ("data", "Back to the author of the data", True),
        ("definitions", "What the metrics mean", True),
        ("made-from", "Made from", True),
    ]


def _compared(against: str) -> str:
    """`tuned against base`."""
    first, second = AGAINST[against]
    return f"{second} against {first.replace('_shots', ' with examples')}"


def bars(report: dict[str, Any]) -> list[dict[str, Any]]:
    """For each system its outcomes as parts of a bar: name, x and width in per cent of all questions."""
    drawn = []
    for system in report["outcomes"]:
        x, parts = 0.0, []
        for name in OUTCOMES:
            width = 100 * system[name.replace(" ", "_")] / report["rows"]
            parts.append({"name": name, "x": round(x, 3), "width": round(width, 3)})
            x += width
        drawn.append({"name": system["name"], "parts": parts})
    return drawn


def _changes(slices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The change of each of the tuned model's figures on each slice, for `forest`."""
    return [
        {"name": f"{each['name']}.{figure['name']}", "difference": figure["tuned"]["change"]}
        for each in slices
        for figure in each["figures"]
        if figure["telling"]
    ]
