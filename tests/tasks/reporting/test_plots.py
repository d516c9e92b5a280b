"""The picture of a training's loss on Prefect's pages; that they draw it is in tests/production."""

from base64 import b64decode
from xml.etree import ElementTree

import pytest

from tasks.reporting.plots import MAX_POINTS, loss_image

SVG = "{http://www.w3.org/2000/svg}"


def lines(steps: int) -> list[dict]:
    return [{"step": step, "max_steps": steps, "loss": 1 / step} for step in range(1, steps + 1)]


def curves(image: str) -> dict[str, list[tuple[float, ...]]]:
    """The points of each curve, by its colour."""
    drawn = ElementTree.fromstring(b64decode(image.partition("base64,")[2].removesuffix(")")))
    found = drawn.findall(f"{SVG}polyline")
    return {each.get("stroke"): [tuple(map(float, p.split(","))) for p in each.get("points").split()] for each in found}


def test_the_curve_falls_as_the_loss_does_and_a_long_one_is_thinned():
    (curve,) = curves(loss_image(lines(10_000))).values()
    assert MAX_POINTS <= len(curve) <= MAX_POINTS + 1
    across, down = zip(*curve, strict=True)
    assert list(across) == sorted(across) and list(down) == sorted(down)
    assert down[0] < down[-1]  # pixels count from the top


def test_held_out_loss_has_a_curve_of_its_own_and_a_loss_that_is_no_number_is_left_out():
    held_out = [{"step": step, "max_steps": 3, "eval_loss": 0.5} for step in range(3)]
    found = curves(loss_image([*lines(3), {"step": 3, "max_steps": 3, "loss": None}, *held_out]))
    assert [len(curve) for curve in found.values()] == [3, 3]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_points_draw_nothing(count):
    assert loss_image(lines(count)) == ""
