"""Geometry of the page's plots: data in, coordinates out; the template draws them as inline SVG."""

from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT = 640, 260  # of a chart, in SVG user units
LEFT, RIGHT, TOP, BOTTOM = 52, 22, 12, 34  # margins


def forest(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Per metric the place of its difference and interval on one axis, in per cent of the width; zero is at 50.

    The axis reaches as far as the widest interval of a metric that is judged; a diagnostic beyond it is cut off.
    """
    judged = [e["difference"] for e in entries if e["difference"] and e["direction"] != "none"]
    furthest = max((abs(end) for change in judged for end in (change["low"], change["high"])), default=0.0)
    reach = max(0.1, ceil(furthest * 10) / 10)

    def place(value: float) -> float:
        return round(50 + 48 * max(-1.0, min(1.0, value / reach)), 2)

    marks = {
        entry["name"]: {end: place(entry["difference"][end]) for end in ("value", "low", "high")}
        for entry in entries
        if entry["difference"]
    }
    return {"reach": reach, "ticks": [(place(x), x) for x in (-reach, -reach / 2, 0, reach / 2, reach)], "marks": marks}


def loss_curve(training: dict[str, Any]) -> dict[str, Any] | None:
    """Polylines of the training and the held-out loss over steps, with ticks; None without any."""
    curves = {name: training[name] for name in ("loss", "held_out") if training[name]}
    if not curves:
        return None
    last = max(step for curve in curves.values() for step, _ in curve)
    steps, losses = ticks(last, 5), ticks(max(loss for curve in curves.values() for _, loss in curve), 4)
    across = max(last, 1)

    def point(step: float, loss: float) -> tuple[float, float]:
        return _x(step / across), _y(loss / losses[-1])

    return {
        "curves": {name: [point(*each) for each in curve] for name, curve in curves.items()},
        "x": [(_x(step / across), step) for step in steps if step <= last],
        "y": [(_y(loss / losses[-1]), loss) for loss in losses],
    }


def lengths(histogram: dict[str, Any]) -> dict[str, Any]:
    """Bars of base and tuned side by side and a line for the reference, with ticks."""
    edges, counts = histogram["edges"], histogram["counts"]
    top = ticks(max(max(each) for each in counts.values()), 4)
    slot = 1 / (len(edges) - 1)
    bars = [
        {
            "name": name,
            "x": _x((i + offset) * slot),
            "y": _y(n / top[-1]),
            "height": _y(0) - _y(n / top[-1]),
            "count": n,
        }
        for name, offset in (("base", 0.1), ("tuned", 0.5))
        for i, n in enumerate(counts[name])
    ]
    return {
        "bars": [{**bar, "height": round(bar["height"], 2)} for bar in bars],
        "width": round((WIDTH - LEFT - RIGHT) * slot * 0.38, 2),
        "reference": [(_x((i + 0.5) * slot), _y(n / top[-1])) for i, n in enumerate(counts["reference"])],
        "x": [(_x(i * slot), edge) for i, edge in enumerate(edges) if i % 2 == 0],
        "y": [(_y(n / top[-1]), n) for n in top],
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
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 2)
