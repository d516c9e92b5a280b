"""The report as one self-contained HTML page."""

import inspect
from itertools import groupby
from pathlib import Path
from typing import Any

from tasks.metrics import METRICS
from tasks.reporting import figures
from tasks.reporting.highlight import Piece, supporting, unsupported
from tasks.reporting.plots import HEIGHT, WIDTH, forest, lengths, loss_curve

TEMPLATES = Path(__file__).parent


def html(report: dict[str, Any]) -> str:
    """Render a report (as in report.json); every text in it is escaped, nothing is fetched."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": figures.share,
        "signed": figures.signed,
        "count": figures.count,
        "loss": figures.loss,
        "points": lambda points: " ".join(f"{x},{y}" for x, y in points),
    }
    lead, stop, details = report["headline"].partition(". ")
    return environment.get_template("report.html.jinja").render(
        report=report,
        lead=lead + stop.rstrip(),
        details=details,
        groups=[(name, list(entries)) for name, entries in groupby(report["metrics"], lambda entry: entry["group"])],
        forest=forest(report["metrics"]),
        curve=loss_curve(report["training"]),
        lengths=lengths(report["lengths"]),
        explained={name: inspect.getdoc(metric.measure) or "" for name, metric in METRICS.items()},
        examples=[
            ("Best: most gained on the base", [_shown(example) for example in report["best"]]),
            ("Worst: most lost, or poor as before", [_shown(example) for example in report["worst"]]),
        ],
        size=(WIDTH, HEIGHT),
    )


def _shown(example: dict[str, Any]) -> dict[str, Any]:
    marked = {which: _marked(example, which) for which in ("base", "tuned")}
    taken_up = "" if example["tuned"]["scores"]["abstained"] else example["tuned"]["answer"]
    passages = [supporting(passage, taken_up) for passage in example["context"]]
    return example | {"marked": marked, "passages": passages}


def _marked(example: dict[str, Any], which: str) -> list[Piece]:
    answer = example[which]
    if answer["scores"]["abstained"]:
        return [(answer["answer"], False)]
    return unsupported(answer["answer"], example["context"], example["query"])
