"""`train.compile`, in a training of a process of its own: it reads the compiler's name when it imports torch."""

import json
from pathlib import Path

import pytest

from tasks.engine.errors import UserError
from tasks.train import train
from tasks.training.config import TrainConfig
from tests.tasks.tiny import inputs_in

pytestmark = pytest.mark.slow
PLAIN = TrainConfig(batch_size=1, accumulation=1, max_steps=6, logging_steps=2, learning_rate=1e-3)
COMPILED = PLAIN.model_copy(update={"compile": True})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=12)


def run(config: TrainConfig, inputs: dict, folder: Path) -> list[dict]:
    """The lines of its loss curve."""
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True)
    train(config, **inputs, work=folder / "work", out=folder / "out")
    return [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]


@pytest.mark.nightly
def test_it_learns_the_same(inputs, tmp_path):
    plain_run, compiled_run = tmp_path / "plain", tmp_path / "compiled"
    curves = run(PLAIN, inputs, plain_run), run(COMPILED, inputs, compiled_run)
    for kind in ("loss", "eval_loss"):
        plain, compiled = ([line[kind] for line in curve if kind in line] for curve in curves)
        assert len(plain) > 1
        assert compiled == pytest.approx(plain, rel=1e-5)
    assert "compiled between products" in (compiled_run / "work" / "metrics.jsonl").read_text()


def test_without_a_compiler_that_is_said_before_the_first_step(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/no/compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    with pytest.raises(
        UserError, match=r"torch\.compile does not work here.*/no/compiler.*\n.*train\.compile to false"
    ):
        run(COMPILED, inputs, tmp_path)
