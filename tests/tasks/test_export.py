"""The bundle, made from a real training: loaded as its card says, complete, and the same wherever it is made."""

import json
import re
import shutil
from fnmatch import fnmatch

import pytest
from huggingface_hub import ModelCard

from tasks.engine.inputs import WANTED, Local
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.storage.store import Store
from tasks.export import ExportConfig, export
from tasks.models import bundle
from tasks.train import train
from tasks.training.config import TrainConfig
from tasks.validate import ValidateConfig, validate
from tests.tasks.tiny import COURSE, packed, toy_base

pytestmark = pytest.mark.usefixtures("loaded_training")
REFUSAL = "Not in the sheet."
ROWS = [
    {"query": "How hot?", "context": ["The oil is at 60 °C."], "answer": "It is at 60 °C."},
    {"query": "How old?", "context": ["The oil is at 60 °C."], "answer": REFUSAL},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The export's request and its store."""
    folder = tmp_path_factory.mktemp("export")
    store = Store(folder / "store")
    base = toy_base(folder / "base")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS * 5))
    rows = folder / "rows"
    rows.mkdir()
    validate(ValidateConfig(refusal=REFUSAL), rows=[folder / "rows.jsonl"], out=rows)
    data = {"train": Local(packed(folder / "train", rows=4)), "heldout": Local(packed(folder / "heldout", rows=1))}
    config = TrainConfig(max_steps=2, logging_steps=1)
    training, _ = make(Request(train, config, {**data, "base": Local(base)}, "train"), store)
    inputs = {"training": training, "rows": Local(rows / "rows"), "base": Local(base)}
    named = ExportConfig(base="plant-base", base_folder=str(base), max_new_tokens=24, prompt=COURSE)
    return Request(export, named, inputs, "export"), store


@pytest.fixture(scope="module")
def exported(made):
    return make(*made)[0].folder / "adapter"


def test_it_loads_and_answers_with_the_lines_of_its_card(exported, made, monkeypatch, capsys):
    lines = re.search(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL).group(1)
    place: dict = {}
    base = str(made[0].inputs["base"].local())
    monkeypatch.chdir(exported)
    exec(lines.replace("plant-base", base), place)
    assert len(capsys.readouterr().out.splitlines()) >= 1
    assert place["tokenizer"]("hello")["input_ids"]
    assert place["model"].peft_config["default"].r == 16
    assert place["model"].generation_config.eos_token_id == [2]


def test_it_holds_what_serving_needs(exported):
    names = {path.name for path in exported.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "prompt.json", "README.md"} <= names
    assert json.loads((exported / "prompt.json").read_bytes())["user"] == COURSE.user
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert all(any(fnmatch(name, pattern) for pattern in WANTED) for name in names), "and the hub gives all of it back"
    generation = json.loads((exported / "generation_config.json").read_text())
    assert (generation["temperature"], generation["max_new_tokens"]) == (0, 24)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in exported.iterdir())  # another user serves it


def test_the_manifest_says_what_it_is_and_names_every_file(exported, made):
    manifest = bundle.require_intact(exported)
    request, _ = made
    assert manifest.base == bundle.Base(name="plant-base", digest=request.inputs["base"].digest, license="apache-2.0")
    assert (manifest.quantization, manifest.license) == ("nf4", "apache-2.0")
    assert manifest.key == request.inputs["training"].key
    assert manifest.refusal == {"*": REFUSAL}
    assert (manifest.rank, manifest.max_lora_rank, manifest.obstacles) == (16, 16, ())
    assert manifest.files.keys() == {path.name for path in exported.iterdir()} - {bundle.MANIFEST}


def test_no_place_of_the_training_machine_is_in_it(exported, made, tmp_path):
    request, _ = made
    place = str(request.inputs["base"].local().parent).encode()
    assert not [path.name for path in exported.iterdir() if place in path.read_bytes()]
    elsewhere = Local(shutil.copytree(request.inputs["base"].local(), tmp_path / "elsewhere"))
    moved = request.config.model_copy(update={"base_folder": str(elsewhere.path)})
    again = Request(export, moved, {**request.inputs, "base": elsewhere}, "export")
    assert again.key == request.key
    other, _ = make(again, Store(tmp_path / "store"))
    assert bundle.read_manifest(other.folder / "adapter") == bundle.read_manifest(exported)


def test_the_card_states_data_recipe_key_scores_and_libraries(exported):
    text = (exported / "README.md").read_text()
    record = json.loads(next(exported.parents[2].glob("train/*/record.json")).read_text())
    assert record["key"][:16] in text
    assert "| lora.r | 16 |" in text
    assert "8 examples" in text
    assert f"peft {record['payload']['libraries']['peft']}" in text
    assert re.search(r"Held-out loss .*: \d\.\d{4} before, \d\.\d{4} after 2 steps", text)
    card = ModelCard(text)
    assert (card.data.library_name, card.data.license) == ("peft", "apache-2.0")
    assert not card.data.base_model  # a folder is no model of the hub


@pytest.mark.parametrize(
    ("kind", "value", "change"),
    [
        ("dora", "True", {"use_dora": True}),
        ("modules_to_save", "lm_head", {"modules_to_save": ["lm_head"]}),
        ("bias", "True", {"lora_bias": True}),
        ("bias", "True", {"bias": "all"}),
        ("initialization", "pissa", {"init_lora_weights": "pissa"}),
        ("rank", "1024", {"rank_pattern": {"q_proj": 1024}}),
        (None, None, {"init_lora_weights": "gaussian", "rank_pattern": {"q_proj": 200}}),
    ],
)
def test_what_a_server_refuses_is_told(exported, tmp_path, kind, value, change):
    folder = shutil.copytree(exported, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    assert bundle.obstacles(folder) == ((bundle.Obstacle(kind=kind, value=value),) if kind else ())
