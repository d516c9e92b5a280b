"""The run form of Prefect's UI: the schema that a deployment carries, and what the server makes of what is submitted.

`validate` is what the server itself runs on the parameters of a new run.
"""

import json
import os
import re
import subprocess
import sys

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from pydantic import ValidationError

from flows.config import TINY, Retrain, load
from flows.deployed import CONFIG, FIRST, differences
from flows.orchestration.service.form import shaped
from flows.promote import promote, rollback
from flows.retrain import retrain
from flows.sweep import sweep

FLOWS = {"retrain": retrain, "promote": promote, "rollback": rollback, "sweep": sweep}


@pytest.fixture(scope="module")
def schema():
    return parameter_schema(retrain).model_dump_for_openapi()


@pytest.fixture
def default(schema):
    """What the form posts if nobody touches it: JavaScript writes 32.0 as 32."""
    return json.loads(json.dumps(schema["properties"]["config"]["default"]), parse_float=shortest)


def shortest(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def refused(schema, config) -> list[str]:
    """What a submit is refused for, as `config.train.lora.r: 0 is less than …`."""
    errors = validate({"config": config}, schema)
    return [f"{'.'.join(map(str, each.path))}: {each.message}" for each in errors]


def put(tree: dict, name: str, value) -> dict:
    *parents, leaf = name.split(".")
    place = tree
    for each in parents:
        place = place.setdefault(each, {})
    place[leaf] = value
    return tree


def test_the_default_comes_back_as_the_same_config(schema, default):
    assert not refused(schema, default)
    assert retrain.validate_parameters({"config": default})["config"] == CONFIG


def test_sections_left_out_are_as_in_the_config_of_the_deployment(schema):
    assert not refused(schema, {})
    assert retrain.validate_parameters({"config": {}})["config"] == load(TINY)


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_every_field_is_described_and_every_section_is_closed(flow):
    """A section is described by its field or by its class."""
    definitions = parameter_schema(flow).model_dump_for_openapi()["definitions"]
    for name, definition in definitions.items():
        if "properties" not in definition:
            continue
        assert definition["additionalProperties"] is False, name
        for field, property_ in definition["properties"].items():
            section = definitions.get(property_.get("$ref", "").rpartition("/")[2], {})
            assert property_.get("description") or section.get("description"), f"{name}.{field}"


def test_what_people_change_first_is_at_the_top_by_its_dotted_name_and_groups_have_words(schema):
    made = shaped(json.loads(json.dumps(schema)))
    fields = made["definitions"]["Retrain"]["properties"]
    top = sorted(fields, key=lambda name: fields[name].get("position", 0))[: len(FIRST)]
    assert top == [*FIRST] == [fields[name]["title"] for name in top]
    assert fields["train.lora.r"]["default"] == CONFIG.train.lora.r
    titles = [definition["title"] for definition in made["definitions"].values() if "properties" in definition]
    assert not [title for title in titles if re.search("Config|[a-z][A-Z](?!A|f)", title.replace("Retrain", ""))]
    assert [each.message for each in validate({"confg": {}}, made)]
    assert not validate({"config": {"train.lora.r": 4}, "because": "to see"}, made)
    assert len(validate({"config": {"train.lora.r": 0}}, made)) == 1


@pytest.mark.parametrize(
    ("given", "rank"),
    [
        ({"train.lora.r": 4}, 4),
        ({"train.lora.r": 16, "train": {"lora": {"r": 4}}}, 4),  # a form posts both, and one was changed
        ({"train.lora.r": 4, "train": {"lora": {"r": 16}}}, 4),
        ({"train.lora.r": 4, "train": {"lora": {"r": 4}}}, 4),
        ({"train": {"lora": {"alpha": 8}}}, 16),
    ],
)
def test_a_setting_by_its_dotted_name_is_that_setting(given, rank):
    assert retrain.validate_parameters({"config": given})["config"].train.lora.r == rank


def test_a_setting_that_is_given_twice_in_two_ways_is_refused():
    with pytest.raises(ParameterTypeError, match="train.lora.r is 4, and 8 in its section"):
        retrain.validate_parameters({"config": {"train.lora.r": 4, "train": {"lora": {"r": 8}}}})


def test_a_run_tells_what_differs_from_its_deployments_config():
    assert differences(CONFIG) == []
    assert differences(load(TINY, ["train.lora.r=4", "data.evaluation=null"])) == [
        "data.evaluation: None, not data/plant/evaluation.jsonl",
        "train.lora.r: 4, not 16",
    ]


def test_choices_are_selects(schema):
    found = schema["definitions"]["TrainConfig"]["properties"]
    assert found["scheduler"]["enum"] == ["constant", "constant_with_warmup", "linear", "cosine"]
    assert found["fit"]["enum"] == ["as_given", "auto"]
    assert schema["definitions"]["PromotionConfig"]["properties"]["mode"]["enum"] == ["auto", "approve", "manual"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.lora.r", 0),
        ("train.lora.dropout", 1),
        ("train.learning_rate", 0),
        ("train.max_steps", -2),
        ("train.epochs", "many"),
        ("build.max_overflow_share", 1.5),
        ("validate.rules.answer_length.reject_over", -1),
        ("gate.rules", []),
        ("gate.resamples", 99),
        ("workers", 0),
        ("runner", "thread"),
        ("promotion.mode", "automatic"),
        ("train.lerning_rate", 1),
        ("nmae", "x"),
        ("validation", {}),  # the field's name in Python; the setting is `validate`
        ("gate.champion_missing", "x"),  # for the flow alone to say
    ],
)
def test_a_typo_or_a_value_out_of_bounds_is_refused_at_submit(schema, default, name, value):
    assert len(refused(schema, put(default, name, value))) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"runner_address": "tcp://host:1"}, "runner_address is for dask and ray, and runner is threads"),
        ({"train.replay": 0.2}, "set start: champion with it"),
        ({"train.max_steps": 0}, "max_steps is 0"),
        ({"answer.merge": True}, "set model.quantization: none with it"),
        ({"gate.rules": [{"metric": "token_f1", "must": "better", "margin": 0.1}]}, "a margin is for not_worse"),
    ],
)
def test_what_would_be_ignored_is_refused(settings, says):
    tree: dict = {}
    for name, value in settings.items():
        put(tree, name, value)
    with pytest.raises(ValidationError, match=says):
        Retrain.model_validate(tree)


@pytest.mark.parametrize(
    ("values", "fit"),
    [([8, 16], True), ({"low": 1e-5, "high": 1e-3}, True), ([], False), ({"low": 1e-5}, False), ("8,16", False)],
)
def test_a_sweep_takes_lists_and_ranges(values, fit):
    schema = parameter_schema(sweep).model_dump_for_openapi()
    request = {"over": {"train.learning_rate": values}, "engine": "optuna", "trials": 12}
    assert fit is not bool(validate({"request": request}, schema))
    if fit:
        assert sweep.validate_parameters({"request": request})["request"].config == CONFIG


GIVEN = {
    "retrain.retrain": {"config": {"train": {"lora": {"rank_pattern": {}}}, "name": "new"}},
    "promote.promote": {"request": {}},
    "promote.rollback": {"request": {"because": "it errs"}},
    "maintain.maintain": {"request": {"delete": True}},
    "refresh.refresh": {"request": {"force": True}},
}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A folder, and what each flow makes of parameters on a worker whose config names a store and data there."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "mine.yaml").write_text(
        f"name: mine\nstore: {folder}/store\ndata: {{evaluation: null}}\n"
        "train: {epochs: 2, lora: {r: 4, rank_pattern: {q_proj: 8}}}\npromotion: {mlflow: adapters}\n"
    )
    code = (
        "import sys, json; from prefect.utilities.importtools import import_object\n"
        "def made(name, given): return import_object(f'flows.{name}').validate_parameters(given)\n"
        "for name, given in json.loads(sys.argv[1]).items():\n"
        "    print(next(iter(made(name, given).values())).model_dump_json(by_alias=True))"
    )
    environment = os.environ | {"REGROUND_CONFIG": str(folder / "mine.yaml")}
    words = [sys.executable, "-c", code, json.dumps(GIVEN)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    return folder, dict(zip(GIVEN, map(json.loads, done.stdout.splitlines()), strict=True))


def test_parameters_given_in_part_are_completed_from_the_deployments_config(deployed):
    folder, made = deployed[0], deployed[1]["retrain.retrain"]
    assert (made["name"], made["store"], made["data"]["evaluation"]) == ("new", f"{folder}/store", None)
    assert (made["train"]["epochs"], made["train"]["lora"]["r"]) == (2, 4)
    assert made["train"]["lora"]["rank_pattern"] == {}  # a value of its own, not a section


@pytest.mark.parametrize("flow", [flow for flow in GIVEN if flow != "retrain.retrain"])
def test_other_flows_act_on_the_store_of_the_deployments_config(deployed, flow):
    folder, made = deployed[0], deployed[1][flow]
    assert made["store"] == f"{folder}/store"
    assert made.get("mlflow", "adapters") == "adapters" and made.get("name", "mine") == "mine"
