"""Methods beside plain LoRA, each in a real training of a toy model: that it took effect, and that what is saved is an
ordinary adapter, which answers beside the original base as it did when it was trained."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.errors import UserError
from tasks.train import train
from tasks.training.checkpoints import last_whole, seal
from tasks.training.config import LoraConfig, TrainConfig
from tasks.training.job import Job
from tests.tasks.test_train import content, start, wait_for
from tests.tasks.tiny import packed, toy_base

SHAPE = {"r": 4, "alpha": 8, "dropout": 0.0}
QUICK = {"max_steps": 3, "batch_size": 1, "accumulation": 1, "learning_rate": 3e-3, "warmup": 0, "logging_steps": 1}
WHOLE = {"model": {"quantization": "none"}}
IDS = [[1, 20, 30, 40, 50, 60, 70]]


def recipe(lora=None, **settings) -> TrainConfig:
    return TrainConfig.model_validate({**QUICK, **settings, "lora": {**SHAPE, **(lora or {})}})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "train": packed(folder / "train", rows=4),
        "heldout": packed(folder / "heldout", rows=2, seed=1),
        "base": toy_base(folder / "base"),
    }


def job_of(config: TrainConfig, inputs: dict, folder: Path, **more) -> Job:
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Job(config=config, **inputs, work=folder / "work", out=folder / "out", **more)


def trainer_of(job: Job):
    """What the training child makes of a job, in this process."""
    from transformers import set_seed

    from tasks.dataset.folder import load
    from tasks.model import load_tokenizer
    from tasks.training.adapted import adapted
    from tasks.training.trainer import make_trainer

    set_seed(job.config.seed)
    return make_trainer(job, adapted(job), load_tokenizer(job.base), load(job.train), load(job.heldout))


def trained(job: Job):
    from tasks.training.result import save

    trainer = trainer_of(job)
    trainer.train()
    learnt = logits(trainer.model)
    save(job, trainer, examples=8)
    return trainer, learnt


def logits(model):
    import torch

    with torch.inference_mode():
        return model.eval()(torch.tensor(IDS)).logits


def base_of(job: Job):
    from tasks.model import load_base

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


@pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)
def test_what_is_saved_answers_beside_the_original_base_as_it_was_trained(config, inputs, tmp_path):
    import torch

    from tasks.model import attach_adapter, merge_adapter

    job = job_of(config, inputs, tmp_path)
    _, learnt = trained(job)
    base = base_of(job)
    assert (logits(base) - learnt).abs().max() > 0.05  # it learnt something
    attached = attach_adapter(base_of(job), job.out / "adapter")
    torch.testing.assert_close(logits(attached), learnt, atol=1e-4, rtol=0)
    if config.model.quantization == "none":
        torch.testing.assert_close(logits(merge_adapter(attached)), learnt, atol=1e-4, rtol=0)
