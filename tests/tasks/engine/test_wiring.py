"""A call of a step is checked against the step: its config, its inputs, and the parts that are taken of its output."""

from pathlib import Path

import pytest

from tasks.engine import Config, step
from tasks.engine.errors import WiringError
from tasks.engine.inputs import Files
from tasks.engine.plan import Planner
from tasks.engine.storage.store import Store


class OtherConfig(Config):
    seed: int = 0


@step(parts=("train", "heldout"))
def split(config: Config, *, rows: list[Path], known: Path | None = None, out: Path, work: Path) -> None:
    for name in ("train", "heldout", "sketches"):
        (out / name).mkdir()
        (out / name / "rows.txt").write_text("a")


@step()
def fit(config: OtherConfig, *, train: Path, heldout: Path | None, out: Path) -> None: ...


@pytest.fixture
def planner(tmp_path) -> Planner:
    return Planner(Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"row": None}, "cut it: there is no input 'row'; did you mean 'rows'?"),
        ({"rows": Files(()), "base": None}, "cut it: there is no input 'base'; there are rows, known"),
        ({"rows": Files(()), "work": None}, "cut it: there is no input 'work'; there are rows, known"),
        ({}, "cut it: the input 'rows' is missing"),
        ({"rows": None}, "cut it: the input 'rows' is None, and split needs it"),
    ],
)
def test_inputs_that_a_step_does_not_take_are_named_with_the_nearest(planner, inputs, says):
    with pytest.raises(WiringError) as error:
        planner(split, Config(), label="cut it", **inputs)
    assert error.value.what == says
    assert "rows, known" in error.value.remedy and planner.steps == []


def test_a_step_takes_its_own_config_or_one_derived_from_it(planner):
    dataset = planner(split, OtherConfig(), rows=Files(()))
    with pytest.raises(WiringError, match="the config is a Config; fit takes a OtherConfig"):
        planner(fit, Config(), train=dataset["train"], heldout=None)
    planner(fit, OtherConfig(), train=dataset["train"], heldout=None)


@pytest.mark.parametrize("made", [False, True])
def test_only_declared_parts_can_be_taken_whether_the_step_has_run_or_not(planner, made, tmp_path):
    from tasks.engine.make import make

    def dataset():
        return planner(split, Config(), rows=Files(()))

    dataset()
    if made:
        make(planner.steps[0].request, planner.store)
    assert dataset()["train"].digest if made else not dataset()["train"].digest
    with pytest.raises(WiringError, match="there is no part 'trian'; did you mean 'train'?"):
        dataset()["trian"]
    with pytest.raises(WiringError, match="there is no part 'sketches'; there are "):
        dataset()["sketches"]
    with pytest.raises(WiringError, match="there are none"):
        dataset()["train"]["rows"]
