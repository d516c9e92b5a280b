"""Methods beside plain LoRA, each in a real training of a toy model: that it took effect, and that what is saved is an
ordinary adapter, which answers beside the original base as it did when it was trained."""

import json
import shutil

import pytest
from pydantic import ValidationError

from tasks.engine.errors import UserError
from tasks.train import train
from tasks.training.job import Job
from tasks.training.outputs import last_intact, seal
from tests.tasks.tiny import inputs_in
from tests.tasks.training.jobs import WHOLE, job_of, recipe, trainer_of
from tests.tasks.training.trained import content, start
from tests.waiting import wait_until

IDS = [[1, 20, 30, 40, 50, 60, 70]]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The toy's threads would mostly wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return inputs_in(tmp_path_factory.mktemp("inputs"), rows=4)


def trained(job: Job):
    from tasks.training.outputs import save_result

    trainer = trainer_of(job)
    trainer.train()
    learnt = logits(trainer.model)
    save_result(job, trainer, examples=8)
    return trainer, learnt


def logits(model):
    import torch

    with torch.inference_mode():
        return model.eval()(torch.tensor(IDS)).logits


def base_of(job: Job):
    from tasks.models.model import load_base

    return load_base(job.base, job.config.model)


def saved(job: Job) -> dict:
    from safetensors.torch import load_file

    return load_file(job.out / "adapter/adapter_model.safetensors")


METHODS = {
    "rslora": recipe({"use_rslora": True}),
    "dora": recipe({"use_dora": True}),
    "dora, whole": recipe({"use_dora": True}, **WHOLE),
    "pissa": recipe({"init": "pissa"}, **WHOLE),
    "fast pissa with rslora": recipe({"init": "pissa_niter_16", "use_rslora": True}, **WHOLE),
    "olora with ranks of its own": recipe({"init": "olora", "rank_pattern": {"q_proj": 2}}, **WHOLE),
    "loftq": recipe({"init": "loftq"}),
    "ranks and alphas": recipe({"rank_pattern": {"down_proj": 8}, "alpha_pattern": {"layers.0.mlp.up_proj": 2}}),
    "gaussian, lora+": recipe({"init": "gaussian", "plus_ratio": 16}),
}


OFTEN = ("rslora", "dora, whole", "pissa", "loftq", "ranks and alphas")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=[] if name in OFTEN else [pytest.mark.slow, pytest.mark.nightly])
        for name, config in METHODS.items()
    ],
)
def test_what_is_saved_answers_beside_the_original_base_as_it_was_trained(config, inputs, tmp_path):
    import torch

    from tasks.models.model import attach_adapter, merge_adapter

    job = job_of(config, inputs, tmp_path)
    _, learnt = trained(job)
    base = base_of(job)
    assert (logits(base) - learnt).abs().max() > 0.03  # it learnt something
    attached = attach_adapter(base_of(job), job.out / "adapter")
    torch.testing.assert_close(logits(attached), learnt, atol=1e-4, rtol=0)
    if config.model.quantization == "none":
        torch.testing.assert_close(logits(merge_adapter(attached)), learnt, atol=1e-4, rtol=0)


def test_rslora_scales_by_the_root_of_the_rank(inputs, tmp_path):
    from peft.tuners.lora import LoraLayer

    model = trainer_of(job_of(recipe({"use_rslora": True}), inputs, tmp_path)).model
    assert {each.scaling["default"] for each in model.modules() if isinstance(each, LoraLayer)} == {8 / 4**0.5}


def test_doras_magnitudes_are_trained_and_saved(inputs, tmp_path):
    import torch

    job = job_of(recipe({"use_dora": True}, **WHOLE), inputs, tmp_path)
    trained(job)
    magnitudes = {name: each for name, each in saved(job).items() if "lora_magnitude_vector" in name}
    assert len(magnitudes) == 2 * 7  # layers, and linear layers of each
    for name, magnitude in magnitudes.items():
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_magnitude_vector")
        first = base_of(job).get_submodule(layer).weight.norm(dim=1)
        assert not torch.equal(magnitude, first)
        torch.testing.assert_close(magnitude, first, rtol=0.1, atol=0.01)


def test_pissa_begins_with_the_bases_main_directions_and_is_saved_at_twice_the_rank(inputs, tmp_path):
    import torch

    job = job_of(recipe({"init": "pissa"}, **WHOLE), inputs, tmp_path)
    trainer, base = trainer_of(job), base_of(job)
    torch.testing.assert_close(logits(trainer.model), logits(base), atol=1e-4, rtol=0)
    layer = trainer.model.get_base_model().get_submodule("model.layers.0.self_attn.q_proj")
    left = layer.get_base_layer().weight
    weight = base.get_submodule("model.layers.0.self_attn.q_proj").weight
    torch.testing.assert_close(torch.linalg.svdvals(left)[0], torch.linalg.svdvals(weight)[4], rtol=1e-3, atol=1e-5)
    trained(job)
    assert {each.shape[0] for name, each in saved(job).items() if "lora_A" in name} == {8}
    config_of_adapter = json.loads((job.out / "adapter/adapter_config.json").read_text())
    assert (config_of_adapter["r"], config_of_adapter["lora_alpha"], config_of_adapter["init_lora_weights"]) == (
        8,
        16,
        True,
    )


def test_loftq_begins_nearer_to_the_base_that_was_quantized(inputs, tmp_path):
    import torch
    from peft.utils.integrations import dequantize_module_weight

    from tasks.models.model import load_base

    job = job_of(recipe({"init": "loftq"}), inputs, tmp_path)
    model = trainer_of(job).model.get_base_model()
    whole = load_base(job.base, job.config.model.model_copy(update={"quantization": "none"}))
    name = "model.layers.1.mlp.up_proj"
    layer, weight = model.get_submodule(name), whole.get_submodule(name).weight
    held = dequantize_module_weight(layer.get_base_layer())
    lost = weight - held
    left = lost - layer.get_delta_weight("default")
    assert left.norm() < 0.95 * lost.norm()
    torch.testing.assert_close(left.norm(), torch.linalg.svdvals(lost)[4:].norm(), rtol=1e-3, atol=0)  # none is less


def test_lora_plus_gives_b_its_own_learning_rate(inputs, tmp_path):
    trainer = trainer_of(job_of(recipe({"plus_ratio": 16}, scheduler="linear", weight_decay=0.01), inputs, tmp_path))
    names = {id(each): name for name, each in trainer.model.named_parameters()}
    trainer.train()
    groups = [group for group in trainer.optimizer.param_groups if group["params"]]
    rates = {names[id(each)].split(".")[-3]: group["initial_lr"] for group in groups for each in group["params"]}
    assert rates == {"lora_A": 3e-3, "lora_B": pytest.approx(16 * 3e-3)}
    assert {group["weight_decay"] for group in groups} == {0.01}
    assert sum(len(group["params"]) for group in groups) == 2 * 2 * 7


def test_neftune_adds_noise_while_training_and_none_while_judging(inputs, tmp_path):
    def losses(alpha: float) -> tuple[float, float]:
        job = job_of(recipe(neftune_noise_alpha=alpha, max_steps=1), inputs, tmp_path / str(alpha))
        trainer = trainer_of(job)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        return before, trainer.state.log_history[0]["loss"]

    (plain, first), (held_out, noisy) = losses(0.0), losses(5.0)
    assert held_out == plain
    assert noisy != first


def test_layers_named_in_a_pattern_have_their_own_rank_and_scale(inputs, tmp_path):
    pattern = {"rank_pattern": {"down_proj": 8}, "alpha_pattern": {"layers.0.mlp.up_proj": 2}}
    job = job_of(recipe(pattern), inputs, tmp_path)
    trainer, _ = trained(job)
    ranks = {name: each.shape[0] for name, each in saved(job).items() if "lora_A" in name}
    assert {name for name, rank in ranks.items() if rank == 8} == {name for name in ranks if "down_proj" in name}
    assert set(ranks.values()) == {4, 8}
    model = trainer.model.get_base_model()
    assert model.get_submodule("model.layers.0.mlp.up_proj").scaling["default"] == 2 / 4
    assert model.get_submodule("model.layers.1.mlp.up_proj").scaling["default"] == 8 / 4


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"rank_pattern": {"down_porj": 8}}, "rank_pattern names 'down_porj'.*did you mean 'down_proj'"),
        ({"alpha_pattern": {"layers.7.mlp.up_proj": 8}}, "alpha_pattern names 'layers.7.mlp.up_proj'"),
        ({"rank_pattern": {"v_proj": 8}, "target_modules": ("q_proj",)}, "'v_proj', which fits no adapted layer"),
    ],
)
def test_a_pattern_that_fits_no_adapted_layer_is_refused(inputs, tmp_path, lora, says):
    from tasks.training.adapter import load_with_adapter

    with pytest.raises(UserError, match=says):
        load_with_adapter(job_of(recipe(lora), inputs, tmp_path))


@pytest.mark.parametrize(
    ("lora", "settings", "says"),
    [
        ({"init": "pissa"}, {}, "must not be quantized; set model.quantization: none"),
        ({"init": "loftq"}, WHOLE, "makes up for quantization"),
        ({"init": "pissa", "use_dora": True}, WHOLE, "set use_dora: false"),
        ({"init": "olora", "bias": "all"}, WHOLE, "set bias: none"),
        ({"init": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2}}, WHOLE, "leave one of the three out"),
        ({"init": "loftq", "use_dora": True}, {}, "set use_dora: false"),
        ({"init": "loftq"}, {"start": "champion"}, "with start: champion set it to default"),
        ({"plus_ratio": 16}, {"optimizer": "adafactor"}, "for Adam, and optimizer is adafactor"),
        ({"rank_pattern": {"q_(proj": 2}}, {}, "not a layer.s name or a regular expression"),
    ],
)
def test_what_cannot_go_together_is_refused_before_anything_is_loaded(lora, settings, says):
    with pytest.raises(ValidationError, match=says):
        recipe(lora, **settings)


@pytest.fixture(scope="module")
def champion(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("champion")
    job = job_of(recipe({"use_dora": True, "rank_pattern": {"q_proj": 2}}), inputs, folder)
    return job.out / "adapter", trained(job)[1]


def test_a_warm_start_takes_the_champions_method_with_its_weights(inputs, tmp_path, champion):
    import torch

    config = recipe({"use_dora": True, "rank_pattern": {"q_proj": 2}}, start="champion")
    model = trainer_of(job_of(config, inputs, tmp_path, start=champion[0])).model
    torch.testing.assert_close(logits(model), champion[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"rank_pattern": {"q_proj": 2}}, "use_dora is false, but the champion's adapter has true"),
        ({"use_dora": True}, r'rank_pattern is {}, but .* has {"q_proj":2}\n.*set train.lora.rank_pattern to'),
        ({"use_dora": True, "use_rslora": True}, "use_rslora is true, but .* has false"),
    ],
)
def test_another_method_than_the_champions_is_refused(inputs, tmp_path, champion, lora, says):
    from tasks.training.adapter import load_with_adapter

    with pytest.raises(UserError, match=says):
        load_with_adapter(job_of(recipe(lora, start="champion"), inputs, tmp_path, start=champion[0]))


JUDGED = {"learning_rate": 1e-2, "max_steps": 20, "eval_steps": 2, "patience": 2, "keep": "best", **WHOLE}


def held_out(job: Job) -> dict[int, float]:
    lines = map(json.loads, (job.out / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["eval_loss"] for line in lines if "eval_loss" in line}


def run(job: Job) -> None:
    from tasks.training.loop import run

    run(job)


def test_training_stops_when_the_held_out_loss_rises_and_the_best_adapter_is_kept(inputs, tmp_path):
    import torch

    from tasks.models.model import attach_adapter

    job = job_of(recipe(save_steps=5, **JUDGED), inputs, tmp_path)
    run(job)
    losses, report = held_out(job), json.loads((job.out / "report.json").read_text())
    best = min(list(losses)[1:], key=losses.__getitem__)
    assert list(losses)[-1] == report["steps"] == best + 2 * 2 < 20
    assert (report["kept_step"], report["held_out_loss_after"]) == (best, losses[best])
    alone = job_of(recipe(**{**JUDGED, "max_steps": best, "keep": "last"}), inputs, tmp_path / "alone")
    run(alone)
    assert (alone.out / "adapter/adapter_model.safetensors").read_bytes() == (
        job.out / "adapter/adapter_model.safetensors"
    ).read_bytes()
    model = attach_adapter(base_of(job), job.out / "adapter")
    assert torch.isfinite(logits(model)).all()
    # Killed behind its last checkpoint, it does the same again from there.
    again = job.model_copy(update={"out": tmp_path / "again"})
    again.out.mkdir()
    run(again)
    assert content(again.out) == content(job.out)


def test_without_held_out_rows_there_is_nothing_to_judge_by(inputs, tmp_path):
    from tasks.training.trainer import make_trainer

    with pytest.raises(UserError, match="train.patience is 2, and no rows are held out to judge by"):
        make_trainer(job_of(recipe(patience=2), inputs, tmp_path), None, None, None, None)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=[pytest.mark.slow, pytest.mark.nightly]), "bfloat16"])
def test_a_resumed_training_goes_on_in_the_dtype_of_the_adapter(dtype, inputs, tmp_path):
    import torch

    job = job_of(recipe(max_steps=4, save_steps=2, adapter_dtype=dtype), inputs, tmp_path)
    ends = []
    for start_from in (None, str(job.checkpoints / "checkpoint-2")):
        trainer = trainer_of(job)
        trainer.train(resume_from_checkpoint=start_from)
        ends.append([each.detach().clone() for each in trainer.model.parameters() if each.requires_grad])
    assert {each.dtype for each in ends[1]} == {getattr(torch, dtype)}
    assert all(torch.equal(whole, resumed) for whole, resumed in zip(*ends, strict=True))


def test_a_checkpoint_whose_best_one_is_gone_is_passed_over(tmp_path):
    for step, best in ((2, 2), (4, 4), (6, 4)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        state = {"best_model_checkpoint": f"/elsewhere/checkpoint-{best}"}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        seal(folder)
    assert last_intact(tmp_path).name == "checkpoint-6"
    shutil.rmtree(tmp_path / "checkpoint-4")
    assert last_intact(tmp_path).name == "checkpoint-2"


RUN = """
import json, sys
from pathlib import Path
from tasks.train import train
from tests.tasks.training.test_methods import EVERYTHING
folder = Path(sys.argv[1])
inputs = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}
(folder / "work").mkdir()
(folder / "out").mkdir()
train(EVERYTHING, **inputs, work=folder / "work", out=folder / "out")
"""
# Of many steps, so that it can be killed between two of them; the last are worse than the best.
EVERYTHING = recipe(
    {"init": "pissa", "use_rslora": True, "plus_ratio": 4},
    **{**JUDGED, "max_steps": 60, "patience": 12, "learning_rate": 3e-3},
    neftune_noise_alpha=5,
    save_steps=3,
)


@pytest.mark.slow
@pytest.mark.nightly
def test_killed_and_resumed_every_method_ends_with_the_same_bytes(inputs, tmp_path):
    whole = tmp_path / "whole"
    job = job_of(EVERYTHING, inputs, whole)
    train(EVERYTHING, **inputs, work=job.work, out=job.out)
    parent = start(inputs, tmp_path, RUN)
    work = tmp_path / "work"
    wait_until(lambda: last_intact(work / "checkpoints"), parent)
    parent.kill()
    parent.wait()
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    train(EVERYTHING, **inputs, work=work, out=resumed)
    assert "resuming from checkpoint-" in (work / "metrics.jsonl").read_text()
    assert content(resumed) == content(job.out)
    report = json.loads((resumed / "report.json").read_text())
    assert report["kept_step"] < report["steps"]
