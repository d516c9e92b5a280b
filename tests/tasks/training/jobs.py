"""Training jobs of a toy model, run in the test's process."""

from pathlib import Path

from tasks.training.config import TrainConfig
from tasks.training.job import Job

SHAPE = {"r": 4, "alpha": 8, "dropout": 0.0}
QUICK = {"max_steps": 3, "batch_size": 1, "accumulation": 1, "learning_rate": 3e-3, "warmup": 0, "logging_steps": 1}
WHOLE = {"model": {"quantization": "none"}}


def recipe(lora=None, **settings) -> TrainConfig:
    return TrainConfig.model_validate({**QUICK, **settings, "lora": {**SHAPE, **(lora or {})}})


def job_of(config: TrainConfig, inputs: dict, folder: Path, **more) -> Job:
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Job(config=config, **inputs, work=folder / "work", out=folder / "out", **more)


def trainer_of(job: Job):
    """What the training child makes of a job, in this process."""
    from transformers import set_seed

    from tasks.data.dataset.folder import load
    from tasks.models.model import load_tokenizer
    from tasks.training.adapter import load_with_adapter
    from tasks.training.trainer import make_trainer

    set_seed(job.config.seed)
    return make_trainer(job, load_with_adapter(job), load_tokenizer(job.base), load(job.train), load(job.heldout))
