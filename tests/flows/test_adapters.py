"""`reground evaluate`: an adapter from anywhere, compared by the pipeline's own steps; what does not fit is refused."""

import json
import shutil

import orjson
import pytest

from flows.adapters import Direct, candidate
from flows.pipeline import evaluation
from flows.promotion.log import read_state
from tasks.engine.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def ada(project):
    """Somebody's adapter, as PEFT saves one, beside a project with a store of its own."""
    project.set("gate.resamples=300", "report.resamples=300")
    return shutil.copytree(project.artifact("train") / "adapter", project.scratch / "ada")


def evaluated(project, name, against=None):
    """The report, what each step was (fresh or stale) by its label, and the store."""
    config, steps = project.config, {}
    direct = Direct(config.open_store(), lambda step, done: steps.setdefault(step.label, step.status))
    other = candidate(config, against) if against else None
    folder = evaluation(config, direct, candidate(config, str(name)), other).folder
    return orjson.loads((folder / "report.json").read_bytes()), steps, direct


def test_an_adapter_is_compared_with_the_base_by_cached_steps_and_nothing_is_promoted(project, ada):
    report, steps, direct = evaluated(project, ada)
    assert report["evaluated"]["adapter"].startswith("ada (") and report["sentence"].startswith("ada (")
    assert report["evaluated"]["base"] == "base" and report["evaluated"]["against"] is None
    assert steps.pop("answer base") == steps.pop("build") == "fresh"  # the retraining's
    assert steps["answer adapter"] == steps["report"] == "stale"
    assert steps["score adapter"] == "fresh"  # its answers are those of the retraining's adapter, byte for byte
    assert not read_state(direct.store).champion and "training" not in direct.made["report"].record.inputs
    shutil.move(ada, ada.with_name("moved") / "ada")
    again, steps, _ = evaluated(project, ada.with_name("moved") / "ada")
    assert set(steps.values()) == {"fresh"} and again == report


def test_another_adapter_takes_the_place_of_the_one_in_service(project, ada):
    report, *_ = evaluated(project, ada, against="export")
    assert report["evaluated"]["against"].startswith("export/") and not report["evaluated"]["in_service"]
    assert "which stands in the place of the adapter in service" in report["sentence"]
    champion = report["comparisons"]["champion"]
    assert all(each["difference"]["value"] == 0 for each in champion if each["difference"])


def named(folder, value):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": value}))


def other_tokenizer(folder, project):
    tokenizer = json.loads((project / "base/tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 5000, "content": "<|more|>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(project / "base/tokenizer_config.json", folder)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder, _: (folder / "adapter_config.json").unlink(), ("ada holds no adapter_config.json", "PEFT")),
        (lambda folder, _: named(folder, "org/Llama-9B"), ("trained on org/Llama-9B", "-s base.model=org/Llama-9B")),
        (other_tokenizer, ("another tokenizer than base", "'<|more|>'", "set base.model")),
        (lambda folder, _: shutil.move(folder / "adapter_model.safetensors", folder / "a.bin"), ("no adapter_model",)),
    ],
    ids=["config", "base", "tokenizer", "weights"],
)
def test_what_does_not_fit_is_refused_with_the_remedy(project, ada, harm, words):
    harm(ada, project)
    with pytest.raises(UserError) as refused:
        candidate(project.config, str(ada))
    assert all(each in str(refused.value) for each in words), str(refused.value)


def test_a_base_by_another_path_or_in_other_letters_is_the_same(project, ada):
    for name in ("someone/Base", str(shutil.copytree(project / "base", project.scratch / "renamed"))):
        named(ada, name)
        assert candidate(project.config, str(ada)).about.startswith("ada (")


@pytest.mark.parametrize("name", ["org/ada", f"org/ada@{COMMIT}"])
def test_an_adapter_of_the_hub_goes_by_its_commit(project, ada, monkeypatch, name):
    import huggingface_hub.constants

    cached = project.scratch / "hub/models--org--ada"
    shutil.copytree(ada, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cached.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = candidate(project.config, name)
    assert (found.about, found.inputs["adapter"].digest) == (f"org/ada@{COMMIT[:8]}", f"org/ada@{COMMIT}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("champion", "no champion yet"),
        ("./nowhere/ada", "there is no folder"),
        ("score", "is no adapter"),
    ],
)
def test_what_is_no_adapter_is_said(project, name, words):
    with pytest.raises(UserError, match=words):
        candidate(project.config, name)
