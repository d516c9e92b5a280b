"""Warm start: which rows a champion knows, how many of them are trained on again, and that training goes on from it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks.data.dataset.folder import Lengths, finish, is_known, load, shards, tokens_schema
from tasks.data.dataset.packing import pack_apart
from tasks.engine.errors import UserError
from tasks.train import train
from tasks.training.config import LoraConfig, TrainConfig
from tests.tasks.tiny import packed, toy_base

pytestmark = pytest.mark.usefixtures("loaded_training")


def shard(path: Path, rows: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), tokens_schema()) as stream:
        columns = [pa.array(rows, pa.list_(pa.int32())), pa.array([1] * len(rows), pa.int32())]
        stream.write_table(pa.table(columns, schema=tokens_schema()))


def test_a_row_is_known_wherever_it_has_moved(tmp_path: Path) -> None:
    shard(tmp_path / "old/00000.arrow", [[1, 2], [3, 4, 5]])
    shard(tmp_path / "old/00001.arrow", [[6, 7], [8, 9]])
    shard(tmp_path / "new/00000.arrow", [[8, 9], [0, 0], [6, 7]])
    shard(tmp_path / "new/00001.arrow", [[1, 2], [3, 4, 5]])
    assert is_known(tmp_path / "new", tmp_path / "old").tolist() == [True, False, True, True, True]
    assert is_known(tmp_path / "old", tmp_path / "new").all()


def test_known_and_new_rows_share_no_sequence() -> None:
    lengths, known = np.arange(1, 101), np.arange(100) % 3 == 0
    sequences = pack_apart(lengths, known, 128, packing=True, seed=0)
    bins = np.split(sequences.rows, sequences.ends[:-1])
    assert sorted(sequences.rows.tolist()) == list(range(100))
    assert all(len(set(known[rows].tolist())) == 1 and lengths[rows].sum() <= 128 for rows in bins)


@pytest.mark.parametrize("replay", [0.0, 0.3, 1.0])
def test_a_share_of_the_known_rows_is_replayed_and_every_new_one_counts(tmp_path: Path, replay: float) -> None:
    shard(tmp_path / "00000.arrow", [[number, number] for number in range(40)])
    known = np.arange(40) < 30
    sequences = pack_apart(np.full(40, 2), known, 2, packing=True, seed=0)
    finish(tmp_path, Lengths.of(tmp_path), sequences, known[sequences.rows[sequences.ends - 1]])
    chosen = [row["input_ids"][0] for row in load(tmp_path, replay=replay, seed=1)]
    assert sum(number < 30 for number in chosen) == round(30 * replay)
    assert sorted(number for number in chosen if number >= 30) == list(range(30, 40))
    assert chosen == [row["input_ids"][0] for row in load(tmp_path, replay=replay, seed=1)]


def test_replay_without_a_champion_is_refused() -> None:
    with pytest.raises(ValidationError, match="set start: champion with it"):
        TrainConfig(replay=0.5)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("champion")
    places = {"base": toy_base(root / "base"), "train": packed(root / "train", rows=12)}
    places["heldout"] = packed(root / "heldout", rows=2, seed=1)
    run(root / "trained", places)
    return {**places, "adapter": root / "trained/out/adapter"}


def run(folder: Path, places: dict[str, Path], *, start: Path | None = None, **config: object) -> Path:
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True)
    shape = LoraConfig(r=int(str(config.pop("r", 4))), alpha=8, dropout=0.0)
    settings = TrainConfig(
        start="champion" if start else "base",
        lora=shape,
        max_steps=4,
        accumulation=1,
        learning_rate=1e-2,
        warmup=0,
        logging_steps=1,
        eval_steps=2,
        **config,
    )
    inputs = {name: places[name] for name in ("train", "heldout", "base")}
    train(settings, **inputs, start=start, work=folder / "work", out=folder / "out")
    return folder / "out"


def test_training_goes_on_from_the_champion(tmp_path: Path, champion: dict[str, Path]) -> None:
    import orjson

    before = orjson.loads((champion["adapter"].parent / "report.json").read_bytes())
    out = run(tmp_path, champion, start=champion["adapter"], replay=0.5)
    # A copy of the champion's dataset: of rows that it knows there are none, so that all are trained on.
    after = orjson.loads((out / "report.json").read_bytes())
    assert before["held_out_loss_after"] < before["held_out_loss_before"]
    assert after["held_out_loss_before"] == pytest.approx(before["held_out_loss_after"], abs=1e-4)
    assert after["held_out_loss_after"] < before["held_out_loss_after"]


def test_another_shape_than_the_champions_is_refused(tmp_path: Path, champion: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="train.lora.r is 8, but the champion's adapter has 4"):
        run(tmp_path, champion, start=champion["adapter"], r=8)


def test_with_nothing_new_and_no_replay_there_is_nothing_to_train_on(tmp_path: Path, champion: dict[str, Path]) -> None:
    rows = len(Lengths.of(champion["train"]).wholes)
    known = pack_apart(Lengths.of(champion["train"]).wholes, np.ones(rows, bool), 64, packing=True, seed=0)
    folder = tmp_path / "known"
    folder.mkdir()
    for path in shards(champion["train"]):
        (folder / path.name).write_bytes(path.read_bytes())
    finish(folder, Lengths.of(folder), known, np.ones(len(known), bool))
    with pytest.raises(UserError, match="no row is new since the champion"):
        run(tmp_path / "run", {**champion, "train": folder}, start=champion["adapter"], replay=0.0)
