"""What is found to have changed, on toy steps through the real store; and records of earlier versions."""

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
from tasks.engine.plan import Pending, Planner, last_used, plan_step
from tasks.engine.record import Change, Reason, Record, Shards
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
        made, _ = make(Request(cut, Config(), {"rows": Files((tmp_path / "rows.txt",))}, "cut"), store)
        return Request(count, Config(), {"rows": made["rows"]}, "count")

    return shards


@pytest.mark.parametrize(
    ("edit", "changed", "total", "rows"),
    [
        (lambda s: ["a0\nb0\nx", *s[1:]], 1, 20, (1, 1)),
        (lambda s: [*s, "new\nrows"], 1, 21, (2, 0)),
        (lambda s: ["new", *s], 1, 21, (1, 0)),
        (lambda s: ["a0\nb0", *s[1:-1], "c0"], 2, 20, (0, 3)),
    ],
)
def test_shards_are_told_by_number_and_their_rows_by_count(shards, store, edit, changed, total, rows):
    before, _ = make(shards(SHARDS), store)
    planned = plan_step(shards(edit(SHARDS)), store)
    (change,) = planned.changes
    assert (change.kind, change.name, change.shards) == (
        "input",
        "rows",
        Shards(changed=changed, removed=0, total=total),
    )
    assert (change.rows_added, change.rows_removed) == rows
    assert planned.share == change.share == pytest.approx(changed / total)
    assert planned.seconds == pytest.approx(before.record.seconds * changed / total, abs=6e-4)  # milliseconds are kept


def test_shards_that_went_or_moved_cost_nothing(shards, store):
    make(shards(SHARDS), store)
    planned = plan_step(shards(SHARDS[:-2]), store)
    (change,) = planned.changes
    assert change.shards == Shards(changed=0, removed=2, total=18)
    assert (change.rows_added, change.rows_removed, planned.share) == (0, 6, 0)
    (change,) = plan_step(shards([SHARDS[1], SHARDS[0], *SHARDS[2:]]), store).changes
    assert (change.reordered, change.shards, change.share) == (True, None, 0)


def test_an_earlier_input_that_is_gone_is_no_obstacle(shards, store):
    make(shards(SHARDS), store)
    shutil.rmtree(store.root / "cut")
    planned = plan_step(shards(["x", *SHARDS[1:]]), store)
    assert planned.changes == (Change(kind="input", name="rows"),)
    assert planned.share == 1


def test_what_waits_costs_the_share_of_what_it_waits_for(shards, store):
    before, _ = make(shards(SHARDS), store)
    waits = Request(count, Config(), {"rows": Pending("cut", 0.25)}, "count")
    planned = plan_step(waits, store)
    assert (planned.status, planned.why, planned.share) == ("waits", Reason(needs=("cut",)), 0.25)
    assert planned.seconds == pytest.approx(before.record.seconds / 4, abs=6e-4)


@pytest.fixture
def base(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_text(name)
    return tmp_path / "base"


def change_of(store, base) -> Change:
    (change,) = plan_step(Request(load, Config(), {"base": base}, "load"), store).changes
    return change


def base_change(before: str, after: str, **files: tuple[str, ...]) -> Change:
    return Change(kind="input", name="base", before=before, after=after, **files)


def test_a_folder_tells_which_of_its_files_changed(store, base, tmp_path):
    make(Request(load, Config(), {"base": Local(base)}, "load"), store)
    (base / "tokenizer.json").write_text("another")
    assert change_of(store, Local(base)) == base_change("base", "base", changed=("tokenizer.json",))
    (base / "merges.txt").write_text("new")
    (base / "config.json").unlink()
    assert change_of(store, Local(base)) == base_change(
        "base", "base", changed=("tokenizer.json",), added=("merges.txt",), removed=("config.json",)
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_text("of another model")
    assert change_of(store, Local(other)) == base_change("base", "other")


def test_a_hub_model_tells_its_commits(store, base):
    make(Request(load, Config(), {"base": Local(base)}, "load"), store)
    assert change_of(store, HubModel("org/model", "0123456789" * 4)) == base_change("base", "org/model@01234567")


def test_a_record_that_is_harmed_is_not_compared_with(store, base):
    """Whatever byte of it: it might read as another reason."""
    made, _ = make(Request(load, Config(), {"base": Local(base)}, "load"), store)
    store.log_fresh_run("tiny", {"load": made})
    path = made.folder / "record.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        path.unlink()
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        planned = plan_step(Request(load, Config(), {"base": Local(base)}, "load"), store, last_used(store))
        assert planned.why == Reason(state="corrupt", problem="record.json has other content than was published")


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
    made, _ = make(Request(load, Recipe(), {"base": Local(base)}, "load"), store)
    store.log_fresh_run("tiny", {"load": made})

    def upgraded(**settings) -> Planner:
        planner = Planner(store, "tiny")
        planner(load, NewerRecipe(**settings), base=Local(base))
        return planner

    return upgraded


def test_a_setting_that_came_with_the_code_is_told_as_new_and_its_artifact_can_be_adopted(upgraded):
    names = ("lora.rescaled", "lora.by_layer", "compiled", "fit")
    assert [(each.kind, each.name) for each in upgraded().steps[0].changes] == [
        ("setting_added", name) for name in names
    ]
    adopt(upgraded(), "load", "that is what it did before")
    assert upgraded().fresh


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"compiled": True}, "config.compiled"),
        ({"lora": {"rescaled": True}}, "config.lora.rescaled"),
        ({"lora": {"by_layer": {"q": 4}}}, "config.lora.by_layer"),
        ({"lora": {"r": 16}}, "config.lora.r"),
        ({"epochs": 2}, "config.epochs"),
        ({"fit": {"r": 8}}, "config.fit"),
    ],
)
def test_a_setting_that_was_set_is_no_part_of_the_upgrade(upgraded, settings, name):
    with pytest.raises(UserError, match="not only code or libraries changed") as refused:
        adopt(upgraded(**settings), "load", "that is what it did before")
    assert refused.value.what.endswith(f": {name}")


def test_a_record_of_the_first_schema_is_read_and_its_reasons_stay_text():
    first = {
        "step": "train",
        "label": "train",
        "made_from": {"base": "tiny-base", "rows": "train.jsonl", "start": None},
        "inputs": {
            "base": {"digest": "d", "step": None, "key": None, "part": None, "files": {"config.json": "e"}},
            "rows": {"digest": "f", "step": None, "key": None, "part": None, "files": [["train.jsonl", "0"]]},
            "start": None,
        },
        "why": ["config.lora.r 16 → 8", "input base: config.json changed"],
        "adopted": {"from": "train/3f2a", "because": "same", "by": "Anna", "at": "2026-11-24T15:00:00+00:00"},
        "measured": {"seconds": 1.5},
    }
    record = Record.model_validate(first)
    assert (record.schema_version, record.why) == (1, Reason(note="; ".join(first["why"])))
    assert record.inputs["base"].files == (("config.json", "e"),)
    assert (record.inputs["rows"].about, record.inputs["start"]) == ("train.jsonl", None)
    assert record.adopted.source == "train/3f2a"
    assert Record.model_validate_json(record.model_dump_json()) == record
