"""Geometry of the plots: data in, places out, in per cent of a plot's width and height.

In per cent, so that a plot grows with the page while its text keeps its size. The templates draw them as inline SVG.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import Any

from tasks.reporting.rendering import render

Curve = list[list[float]]  # of [x, y]

MAX_POINTS = 200  # of a curve in `loss_image`: more look the same, and the image is sent every few seconds
LOSSES = ("loss", "eval_loss")


def loss_image(metrics: Iterable[dict[str, Any]]) -> str:
    """Training and held-out loss by step as an image in Markdown, which both of Prefect's UIs draw.

    `metrics` are the lines of a training's metrics.jsonl: {"step", "loss" | "eval_loss", …}. Returns
    `![…](data:image/svg+xml;…)`, or an empty text if no curve has two points.
    """
    lines_ = list(metrics)
    curves = {name: [[line["step"], line[name]] for line in lines_ if line.get(name) is not None] for name in LOSSES}
    curves = {name: curve[:: max(1, len(curve) // MAX_POINTS)] for name, curve in curves.items() if len(curve) > 1}
    if not curves:
        return ""
    svg = render("ui/loss.svg.jinja", plot=lines(curves))
    return f"![loss by step](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"


def forest(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The place of each entry's difference and interval on one axis with zero at 50; an entry is a metric or slice.

    The axis reaches as far as the widest interval of the metrics that have a better direction; a diagnostic beyond it
    is cut off.
    """
    judged = [e["difference"] for e in entries if e["difference"] and e.get("direction") != "none"]
    furthest = max((abs(end) for change in judged for end in (change["low"], change["high"])), default=0.0)
    reach = max(0.1, ceil(furthest * 10) / 10)

    def place(value: float) -> float:
        return round(50 + 48 * max(-1.0, min(1.0, value / reach)), 2)

    marks = {
        entry["name"]: {end: place(entry["difference"][end]) for end in ("value", "low", "high")}
        for entry in entries
        if entry["difference"]
    }
    return {"ticks": [(place(x), x) for x in (-reach, -reach / 2, 0, reach / 2, reach)], "marks": marks}


def loss_curve(training: dict[str, Any]) -> dict[str, Any] | None:
    """Curves of the training and the held-out loss over steps, with ticks; None without any."""
    curves = {name: training[name] for name in ("loss", "held_out") if training[name]}
    return lines(curves) if curves else None


def lines(curves: dict[str, Curve]) -> dict[str, Any]:
    """Curves of [x, y] from the origin, with ticks."""
    last = max(x for curve in curves.values() for x, _ in curve) or 1
    highest = max(y for curve in curves.values() for _, y in curve)
    across, up = ticks(last, 5), ticks(highest, 4)
    return {
        "curves": {name: [(_x(x / last), _y(y / up[-1])) for x, y in curve] for name, curve in curves.items()},
        "x": [(_x(x / last), x) for x in across if x <= last],
        "y": [(_y(y / up[-1]), y) for y in up],
    }


def history(gains: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each metric the places of its points, in the order of promotions, on its own axis, which includes zero."""
    return [_over_time(gain["points"]) for gain in gains]


def _over_time(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    highest = max(0.0, *(point["high"] for point in points))
    lowest = min(0.0, *(point["low"] for point in points))
    step = ticks(highest - lowest, 4)[1]
    first, last = floor(lowest / step), ceil(highest / step)
    span = max(1, last - first) * step

    def place(value: float) -> float:
        return _y((value - first * step) / span)

    return {
        "points": [
            {"x": _x((number + 0.5) / len(points)), **{end: place(point[end]) for end in ("value", "low", "high")}}
            for number, point in enumerate(points)
        ],
        "y": [(place(tick * step), round(tick * step, 10)) for tick in range(first, max(last, first + 1) + 1)],
        "x": [],
    }


def ticks(top: float, count: int) -> list[float]:
    """About `count` round steps from 0 that reach at least `top`."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / count
    scale = 10.0 ** floor(log10(rough))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= rough * 0.999)
    return [round(i * step, 10) for i in range(ceil(top / step - 1e-9) + 1)]


def _x(share: float) -> float:
    return round(share * 100, 2)


def _y(share: float) -> float:
    return round(100 - share * 100, 2)
