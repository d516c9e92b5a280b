"""Every knob of a QLoRA training, with its default."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tasks.model import ModelConfig
from tasks.versioning import RUNTIME, Config

Tracker = Literal["tensorboard", "wandb", "mlflow"]


class LoraConfig(Config):
    """The adapter: low-rank updates beside frozen weights."""

    r: PositiveInt = Field(16, description="Rank of the update matrices; 4 to 64 is usual.")
    alpha: PositiveInt = Field(32, description="Scale: updates are multiplied by alpha / r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input while training.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases train as well.")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear",
        description="'all-linear' (every linear layer but the head), or the names of the layers to adapt.",
    )


class TrainConfig(Config):
    """QLoRA fine-tuning with TRL's SFTTrainer; the loss is on the answers only."""

    start: Literal["base", "champion"] = Field(
        "base", description="Begin with a fresh adapter, or go on from the champion's (a warm start)."
    )
    replay: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Of the rows that the champion was trained on, the share to train on again; rows new to it all "
        "count. For start: champion.",
    )
    lora: LoraConfig = LoraConfig()
    model: ModelConfig = ModelConfig()
    epochs: PositiveFloat = Field(1.0, description="Passes over the training data.")
    max_steps: int = Field(
        -1, ge=-1, description="So many optimizer steps, whatever `epochs` says; -1: as many as the epochs need."
    )
    batch_size: PositiveInt = Field(2, description="Sequences per device and forward pass.")
    accumulation: PositiveInt = Field(4, description="Forward passes per optimizer step.")
    fit: Annotated[Literal["as_given", "auto"], RUNTIME] = Field(
        "as_given",
        description="auto: choose forward passes, and gradient checkpointing where that is auto, by what is predicted "
        "to fit, of the same effective batch; when memory runs out nevertheless, go on from the last checkpoint with "
        "smaller ones. as_given: stop then, and say what would fit.",
    )
    optimizer: str = Field(
        "auto", description="'auto': paged_adamw_32bit on CUDA, adamw_torch elsewhere; or any name transformers has."
    )
    learning_rate: PositiveFloat = Field(2e-4, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Of AdamW, on the adapter's weights.")
    warmup: float = Field(
        0.03, ge=0, description="Below 1 a share of all steps, else a number of steps; scheduler constant has none."
    )
    scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = Field(
        "constant_with_warmup", description="How the learning rate goes on from its peak."
    )
    max_grad_norm: PositiveFloat = Field(0.3, description="Gradients are clipped to this norm.")
    group_by_length: bool = Field(False, description="Batch sequences of like length; of no use when packed.")
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Recompute activations to save memory; 'auto': on CUDA only."
    )
    adapter_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 has 8 bits of mantissa: it drops updates under 0.4 % of a weight."
    )
    seed: int = Field(42, ge=0, description="Seed of the adapter's first weights, of dropout and of the order of rows.")
    eval_steps: PositiveInt = Field(50, description="Optimizer steps between held-out losses.")
    save_steps: Annotated[PositiveInt, RUNTIME] = Field(
        50, description="Optimizer steps between checkpoints; rounded up to a multiple of logging_steps."
    )
    logging_steps: PositiveInt = Field(10, description="Optimizer steps between points of the loss curve.")
    report_to: Annotated[tuple[Tracker, ...], RUNTIME] = Field(
        (), description="Experiment trackers; each must be installed and reads its own settings."
    )
    tracking_folder: Annotated[str, RUNTIME] = Field("artifacts/.tracking", description="TensorBoard's event files.")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "TrainConfig":
        if self.max_steps == 0:
            raise ValueError("max_steps is 0, and a training has at least one; -1: as many as the epochs need")
        if self.start == "base" and self.replay != 1.0:
            raise ValueError("replay chooses among rows that a champion knows; set start: champion with it")
        return self
