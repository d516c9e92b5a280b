"""How a change of an input is told, on toy steps through the real store."""

import shutil
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest

from tasks.engine import Config, step
from tasks.engine.adopt import adopt
from tasks.engine.errors import UserError
from tasks.engine.inputs import Files, HubModel, Local
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.plan import Pending, Planner, last_used, look
from tasks.engine.storage.store import Store


@step()
def cut(config: Config, *, rows: list[Path], out: Path) -> None:
    """A shard per paragraph, and the checksums of its rows."""
    for folder in ("rows", "source"):
        (out / folder).mkdir()
    for number, shard in enumerate(rows[0].read_text().split("\n\n")):
        (out / f"rows/{number:05}.txt").write_text(shard)
        sums = b"".join(crc32(row.encode()).to_bytes(4, "little") for row in shard.splitlines())
        (out / "source" / sha256(shard.encode()).hexdigest()).write_bytes(sums)


@step()
def count(config: Config, *, rows: Path, earlier: list[Path], out: Path) -> None:
    (out / "count.txt").write_text(str(len(list(rows.iterdir()))))


@step()
def load(config: Config, *, base: Path, out: Path) -> None:
    (out / "names.txt").write_text(" ".join(sorted(path.name for path in base.iterdir())))


SHARDS = [f"a{n}\nb{n}\nc{n}" for n in range(20)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def shards(tmp_path, store):
    """Cut these shards, and return a request to count them."""

    def shards(texts: list[str]) -> Request:
        (tmp_path / "rows.txt").write_text("\n\n".join(texts))
        made, _ = make(Request(cut, Config(), {"rows": Files((tmp_path / "rows.txt",))}, "cut"), store, why=[])
        return Request(count, Config(), {"rows": made["rows"]}, "count")

    return shards


@pytest.mark.parametrize(
    ("edit", "says", "share"),
    [
        (lambda s: ["a0\nb0\nx", *s[1:]], "1 of 20 shards changed: rows +1 −1", 1 / 20),
        (lambda s: [*s, "new\nrows"], "1 of 21 shards changed: rows +2 −0", 1 / 21),
        (lambda s: ["new", *s], "1 of 21 shards changed: rows +1 −0", 1 / 21),
        (lambda s: ["a0\nb0", *s[1:-1], "c0"], "2 of 20 shards changed: rows +0 −3", 2 / 20),
    ],
)
def test_shards_are_told_by_number_and_their_rows_by_count(shards, store, edit, says, share):
    before, _ = make(shards(SHARDS), store, why=[])
    planned = look(shards(edit(SHARDS)), store)
    assert planned.why == [f"input rows: {says}"]
    assert planned.share == pytest.approx(share)
    took = before.record["measured"]["seconds"]
    assert planned.seconds == pytest.approx(took * share, abs=6e-4)  # milliseconds are kept


def test_shards_that_went_or_moved_cost_nothing(shards, store):
    make(shards(SHARDS), store, why=[])
    planned = look(shards(SHARDS[:-2]), store)
    assert planned.why == ["input rows: 2 of 20 shards gone: rows +0 −6"]
    assert planned.share == 0
    assert look(shards([SHARDS[1], SHARDS[0], *SHARDS[2:]]), store).why == ["input rows: shards in another order"]


def test_an_earlier_input_that_is_gone_is_no_obstacle(shards, store):
    make(shards(SHARDS), store, why=[])
    shutil.rmtree(store.root / "cut")
    planned = look(shards(["x", *SHARDS[1:]]), store)
    assert planned.why == ["input rows changed"]
    assert planned.share == 1


def test_what_waits_costs_the_share_of_what_it_waits_for(shards, store):
    before, _ = make(shards(SHARDS), store, why=[])
    waits = Request(count, Config(), {"rows": Pending("cut", 0.25)}, "count")
    planned = look(waits, store)
    assert (planned.status, planned.why, planned.share) == ("waits", ["needs cut"], 0.25)
    assert planned.seconds == pytest.approx(before.record["measured"]["seconds"] / 4, abs=6e-4)


@pytest.fixture
def base(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_text(name)
    return tmp_path / "base"


def why_stale(store, base) -> list[str]:
    return look(Request(load, Config(), {"base": base}, "load"), store).why


def test_a_folder_tells_which_of_its_files_changed(store, base, tmp_path):
    make(Request(load, Config(), {"base": Local(base)}, "load"), store, why=[])
    (base / "tokenizer.json").write_text("another")
    assert why_stale(store, Local(base)) == ["input base: tokenizer.json changed"]
    (base / "merges.txt").write_text("new")
    (base / "config.json").unlink()
    told = ["input base: tokenizer.json changed", "input base: merges.txt added", "input base: config.json gone"]
    assert why_stale(store, Local(base)) == told
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_text("of another model")
    assert why_stale(store, Local(other)) == ["input base: base → other"]


def test_a_hub_model_tells_its_commits(store, base):
    make(Request(load, Config(), {"base": Local(base)}, "load"), store, why=[])
    assert why_stale(store, HubModel("org/model", "0123456789" * 4)) == ["input base: base → org/model@01234567"]


def test_a_record_that_is_harmed_is_not_compared_with(store, base):
    """Whatever byte of it: it might read as another reason."""
    made, _ = make(Request(load, Config(), {"base": Local(base)}, "load"), store, why=[])
    store.log_run("tiny", {"load": made}).end("completed")
    path = made.folder / "record.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        path.unlink()
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        planned = look(Request(load, Config(), {"base": Local(base)}, "load"), store, last_used(store))
        assert planned.why == [f"{made.about}: record.json has other content than was published"]


class Lora(Config):
    r: int = 8


class NewerLora(Lora):
    rescaled: bool = False
    by_layer: dict[str, int] = {}


class Recipe(Config):
    lora: Lora = Lora()
    epochs: int | None = None


class NewerRecipe(Recipe):
    """As it is after an upgrade."""

    lora: NewerLora = NewerLora()
    compiled: bool = False
    fit: Lora = Lora(r=1)


@pytest.fixture
def upgraded(store, base):
    """A plan of the step that was made before an upgrade, with these settings."""
    made, _ = make(Request(load, Recipe(), {"base": Local(base)}, "load"), store, why=[])
    store.log_run("tiny", {"load": made}).end("completed")

    def upgraded(**settings) -> Planner:
        planner = Planner(store, "tiny")
        planner(load, NewerRecipe(**settings), base=Local(base))
        return planner

    return upgraded


def test_a_setting_that_came_with_the_code_is_told_as_new_and_its_artifact_can_be_adopted(upgraded):
    told = [
        f"config.{name} is new, and at its default" for name in ("lora.rescaled", "lora.by_layer", "compiled", "fit")
    ]
    assert upgraded().steps[0].why == told
    adopt(upgraded(), "load", "that is what it did before")
    assert upgraded().fresh


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compiled": True}, "config.compiled none → True"),
        ({"lora": {"rescaled": True}}, "config.lora.rescaled none → True"),
        ({"lora": {"by_layer": {"q": 4}}}, "config.lora.by_layer none → {'q': 4}"),
        ({"lora": {"r": 16}}, "config.lora.r 8 → 16"),
        ({"epochs": 2}, "config.epochs none → 2"),
        ({"fit": {"r": 8}}, "config.fit none → {'r': 8}"),
    ],
)
def test_a_setting_that_was_set_is_no_part_of_the_upgrade(upgraded, settings, says):
    with pytest.raises(UserError, match="not only code or libraries changed") as refused:
        adopt(upgraded(**settings), "load", "that is what it did before")
    assert refused.value.what.endswith(f": {says}")
