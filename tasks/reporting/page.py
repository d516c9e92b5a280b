"""The report as one self-contained HTML page."""

import inspect
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluation.metrics import METRICS
from tasks.reporting import figures
from tasks.reporting.headline import SUBJECTS
from tasks.reporting.highlight import Piece, supporting, unsupported
from tasks.reporting.plots import forest, lengths, loss_curve
from tasks.reporting.trace import at, sources, traced

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent
PARTS = (  # what the page is put together from, as paths from the project's root
    "tasks/reporting/report.html.jinja",
    "tasks/reporting/style.css.jinja",
    *(
        f"tasks/reporting/parts/{part}.jinja"
        for part in (
            "macros.html",
            "decision.html",
            "areas.html",
            "verdicts.html",
            "comparison.html",
            "slices.html",
            "behaviour.html",
            "judge.html",
            "examples.html",
            "quality.html",
            "definitions.html",
            "made_from.html",
            "narrow.css",
        )
    ),
)
AGAINST = {"base": ("base", "tuned"), "champion": ("champion", "tuned"), "trained": ("trained", "shipped")}


def html(report: dict[str, Any]) -> str:
    """Render a report (as in report.json); every text in it is escaped, nothing is fetched."""
    compared = {against: entries for against, entries in report["comparisons"].items() if entries}
    page = environment()
    page.globals |= {
        "figure": lambda path, form="share": traced(report, path, form),
        "at": partial(at, report),
        "sources": sources,
    }
    return page.get_template("report.html.jinja").render(
        report=report,
        compared={
            against: {
                "names": AGAINST[against],
                "groups": [(name, list(group)) for name, group in groupby(entries, lambda entry: entry["group"])],
                "forest": forest(entries),
            }
            for against, entries in compared.items()
        },
        subjects=SUBJECTS,
        verdicts=[(name, list(each)) for name, each in groupby(enumerate(report["verdicts"]), _against)],
        slices={"forest": forest(_changes(report["slices"]))},
        judges={"forest": forest([{**each, "name": at} for at, each in enumerate(_judges(report))])},
        curve=loss_curve(report["training"]),
        lengths=lengths(report["lengths"]),
        explained={name: inspect.getdoc(metric.measure) or "" for name, metric in METRICS.items()},
        labels={name: figures.inline(metric.label) for name, metric in METRICS.items()},
        marked=partial(_marked, report["refusal"]),
        supporting=partial(_supporting, report["refusal"]),
    )


def environment() -> "Environment":
    """Templates of this folder: escaping, and strict about names that are not there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= figures.FORMS | {"points": lambda points: " ".join(f"{x},{y}" for x, y in points)}
    return made


def _against(numbered: tuple[int, dict[str, Any]]) -> str:
    against: str = numbered[1]["against"]
    return against


def _changes(slices: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """What each slice changes in each of the tuned model's figures, as entries of a forest."""
    return [
        {"name": f"{each['name']}.{figure['name']}", "difference": figure["tuned"]["change"]}
        for each in slices or []
        for figure in each["figures"]
    ]


def _judges(report: dict[str, Any]) -> list[dict[str, Any]]:
    judges: list[dict[str, Any]] = report["judge"]["judges"] if report["judge"] else []
    return judges


def _marked(refusal: str | None, example: dict[str, Any], which: str) -> list[Piece]:
    """The answer in pieces, what nothing supports marked."""
    return unsupported(example[which]["answer"], example["context"], example["query"], refusal)


def _supporting(refusal: str | None, example: dict[str, Any]) -> list[list[Piece]]:
    """The passages in pieces, what the tuned answer takes up marked."""
    return supporting(example["context"], example["tuned"]["answer"], refusal)
