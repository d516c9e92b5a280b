"""The config tree: defaults, files, overrides, and what is said of mistakes."""

from pathlib import Path

import pytest
import yaml

from flows.config import Retrain, load
from tasks.engine.errors import UserError

READY_MADE = sorted(Path("deployments/configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_file_and_an_override_meet_in_one_tree(tmp_path):
    config = load(written(tmp_path, "train:\n  lora:\n    r: 8\n"), ["train.lora.alpha=64", "name=weekly"])
    assert (config.train.lora.r, config.train.lora.alpha, config.name) == (8, 64, "weekly")


def test_an_override_reads_as_yaml():
    config = load(None, ["train.lora.target_modules=[q_proj, v_proj]", "data.evaluation=null"])
    assert config.train.lora.target_modules == ("q_proj", "v_proj")
    assert config.data.evaluation is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train:\n  lerning_rate: 1\n", "train.lerning_rate: no such setting; did you mean 'learning_rate'?"),
        ("trian: {}\n", "trian: no such setting; did you mean 'train'?"),
        ("train:\n  lora:\n    rank: 8\n", "train.lora.rank: no such setting; there are r, alpha"),
        ("train:\n  lora:\n    r: -1\n", "train.lora.r: Input should be greater than 0, not -1"),
        ("train:\n  epochs: many\n", "train.epochs: Input should be a valid number"),
        (
            "gate:\n  rules: [{metric: correct, against: base_shots, must: better}]\n",
            "config.yaml: a rule of the gate is against base_shots, and answer.shots is 0; set it to 4, say",
        ),
        ("train: [\n", "config.yaml:2: not YAML"),
        ("just words\n", "expected sections such as `train:`"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, says):
    with pytest.raises(UserError) as error:
        load(written(tmp_path, text))
    assert says in str(error.value)


def test_every_mistake_is_told_at_once(tmp_path):
    with pytest.raises(UserError) as error:
        load(written(tmp_path, "train:\n  epochs: 0\nnmae: x\n"))
    assert "train.epochs" in error.value.what
    assert "nmae" in error.value.what


def test_a_missing_file_names_the_ready_made_ones(tmp_path):
    with pytest.raises(UserError, match="tiny.yaml"):
        load(tmp_path / "none.yaml")


def test_a_file_extends_another_and_says_what_differs(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/lora.yaml").write_text(
        "train: {epochs: 2, lora: {r: 8, alpha: 16}, report_to: [wandb, mlflow]}\n"
    )
    (tmp_path / "middle.yaml").write_text("extends: base/lora.yaml\ntrain: {epochs: 5}\n")
    path = written(tmp_path, "extends: middle.yaml\ntrain:\n  lora: {r: 4}\n  report_to: [wandb]\n")
    config = load(path, ["train.lora.alpha=64"])
    assert (config.train.epochs, config.train.lora.r, config.train.lora.alpha) == (5, 4, 64)
    assert config.train.report_to == ("wandb",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: config.yaml\n", "extends itself"),
        ("extends: [a.yaml]\n", "is not a path"),
        ("extends: none.yaml\n", "none.yaml"),
    ],
)
def test_a_file_that_cannot_be_extended_is_named(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        load(written(tmp_path, text))


def test_there_are_ready_made_configs():
    assert {"tiny.yaml", "mistral-7b-instruct.yaml"} <= {path.name for path in READY_MADE}


@pytest.mark.parametrize("path", READY_MADE, ids=lambda path: path.stem)
def test_a_ready_made_config_loads_and_takes_the_bases_own_chat_template(path):
    from flows.sources import template

    config = load(path)
    assert template(config.prompt) is None


def test_the_tree_goes_through_yaml_and_back(tmp_path):
    tree = Retrain().model_dump(mode="json", by_alias=True)
    assert load(written(tmp_path, yaml.safe_dump(tree))) == Retrain()


def test_every_setting_of_the_form_has_a_plain_default():
    """Prefect's form leaves out defaults made by a factory."""

    def check(model):
        for name, field in model.model_fields.items():
            assert field.default_factory is None, f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                check(field.annotation)

    check(Retrain)
