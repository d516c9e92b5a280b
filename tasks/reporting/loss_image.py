"""The loss of a training as an image in Markdown: both of Prefect's UIs draw one, mermaid only the newer."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from tasks.reporting.plots import lines as placed

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 50, 30  # pixels, of the plot and of the room for its numbers
MOST = 200  # points of a curve: more cannot be told apart, and the image is sent every few seconds
LOSSES = {"loss": ("training", "#2563eb"), "eval_loss": ("held-out", "#d97706")}


def loss_image(told: Iterable[dict[str, Any]]) -> str:
    """`![…](data:image/svg+xml;…)` of training and held-out loss by step; empty while no curve has two points.

    `told` are the lines of a training's metrics: {"step", "loss" | "eval_loss", …}.
    """
    every = list(told)
    curves = {name: [[line["step"], line[name]] for line in every if line.get(name) is not None] for name in LOSSES}
    curves = {name: curve[:: max(1, len(curve) // MOST)] for name, curve in curves.items() if len(curve) > 1}
    return f"![loss by step](data:image/svg+xml;base64,{b64encode(_svg(curves).encode()).decode()})" if curves else ""


def _svg(curves: dict[str, list[list[float]]]) -> str:
    plot = placed(curves)
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']  # it stands on light and on dark pages
    for at, value in plot["y"]:
        parts.append(f'<path d="M{LEFT} {_down(at)}H{WIDTH - 10}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_down(at) + 4}" text-anchor="end">{value:g}</text>')
    for at, value in plot["x"]:
        parts.append(f'<text x="{_across(at)}" y="{HEIGHT - 8}" text-anchor="middle">{value:g}</text>')
    for number, (name, points) in enumerate(plot["curves"].items()):
        title, colour = LOSSES[name]
        path = " ".join(f"{_across(x)},{_down(y)}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - 16}" y="{24 + 16 * number}" text-anchor="end" fill="{colour}">{title}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'


def _across(per_cent: float) -> float:
    return round(LEFT + per_cent * (WIDTH - LEFT - 20) / 100, 1)


def _down(per_cent: float) -> float:
    return round(10 + per_cent * (HEIGHT - BOTTOM - 10) / 100, 1)
