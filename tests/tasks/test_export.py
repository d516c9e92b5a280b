"""The exported folder, made from a real training and loaded as its card says."""

import json
import re
from pathlib import Path

import pytest

from tasks.engine.inputs import Local
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.storage.store import Store
from tasks.export import ExportConfig, export
from tasks.train import train
from tasks.training.config import TrainConfig
from tests.tasks.tiny import packed, toy_base

pytestmark = pytest.mark.usefixtures("loaded_training")
TEMPLATE = Path("tasks/prompts/templates/inst.jinja")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    store = Store(folder / "store")
    base = Local(toy_base(folder / "base"))
    data = {"train": Local(packed(folder / "train", rows=4)), "heldout": Local(packed(folder / "heldout", rows=1))}
    config = TrainConfig(max_steps=2, logging_steps=1)
    training, _ = make(Request(train, config, {**data, "base": base}, "train"), store)
    inputs = {"training": training, "base": base, "template": Local(TEMPLATE)}
    request = Request(export, ExportConfig(base_model=str(base.path)), inputs, "export")
    return make(request, store)[0].folder / "adapter"


def test_it_loads_with_the_three_lines_of_its_card(exported):
    lines = re.search(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL).group(1)
    place: dict = {}
    exec(lines.replace("path/to/this/folder", str(exported)), place)
    assert place["tokenizer"]("hello")["input_ids"]
    assert place["model"].peft_config["default"].r == 16


def test_it_holds_what_serving_needs(exported):
    names = {path.name for path in exported.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "prompt.jinja", "README.md"} <= names
    assert (exported / "prompt.jinja").read_bytes() == TEMPLATE.read_bytes()
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


def test_the_card_states_data_recipe_key_scores_and_libraries(exported):
    card = (exported / "README.md").read_text()
    record = json.loads(next(exported.parents[2].glob("train/*/record.json")).read_text())
    assert record["key"][:16] in card
    assert "| lora.r | 16 |" in card
    assert "8 examples" in card
    assert f"peft {record['payload']['libraries']['peft']}" in card
    assert re.search(r"Held-out loss .*: \d\.\d{4} before, \d\.\d{4} after 2 steps", card)
