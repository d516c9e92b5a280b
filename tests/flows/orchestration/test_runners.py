"""validate and build over every kind of runner: the same artifacts from each."""

from pathlib import Path
from typing import Any

import pytest

from flows.config import TINY, load
from flows.orchestration.mappers import Runner
from flows.pipeline import pipeline
from tasks.engine.code.source import ROOT
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.mapper import Mapper, map_serial
from tests.toy_flow import in_flow


class Counting(Runner):
    """Notes the name of every group that does not stay in this process."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.submitted: list[str] = []

    def _submit(self, runner: Any, name: str, *rest: Any) -> Any:
        self.submitted.append(name)
        return super()._submit(runner, name, *rest)


class Enough(Exception):
    """The data steps are done."""


ROWS = 240  # of the sample: some dozen shards


def data_steps(folder: Path, name: str, mapper: Mapper) -> dict[str, str]:
    """Make the sample's data steps in a store of their own; returns their digests."""
    lines = (ROOT / "data/plant/train.jsonl").read_text().splitlines(keepends=True)[:ROWS]
    (folder / "train.jsonl").write_text("".join(lines))
    config, made = load(TINY, [f"store={folder / name}", f"data.train={folder / 'train.jsonl'}"]), {}

    def run(step, step_config, *, label="", **inputs):
        if step.name not in ("validate", "build"):
            raise Enough
        request = Request(step, step_config, inputs, label or step.name)
        made[request.label], there = make(request, config.open_store(), mapper=mapper)
        assert not there
        return made[request.label]

    run.store = config.open_store()
    with pytest.raises(Enough):
        pipeline(config, run)
    return {label: artifact.digest for label, artifact in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["processes", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("threads", "dask", "ray"))]
)
def test_validate_and_build_give_the_same_bytes_over_every_runner(prefect_server, tmp_path, monkeypatch, kind):
    for name, size in (("LEAST", 8), ("MEAN", 16), ("MOST", 32)):
        monkeypatch.setattr(f"tasks.data.shards.{name}", size)
    monkeypatch.setattr("flows.orchestration.mappers.GROUP_SECONDS", 0.01)
    given, submitted = {}, []

    def job() -> None:
        with Counting(kind, workers=2) as runner:
            given.update(data_steps(tmp_path, kind, runner))
            submitted.extend(runner.submitted)

    in_flow(job)
    assert given.keys() == {"validate", "validate evaluation", "build"}
    assert {"examine_shard", "encode"} <= set(submitted)
    assert given == data_steps(tmp_path, "here", map_serial)
