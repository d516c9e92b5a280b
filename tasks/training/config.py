"""The settings of a QLoRA training."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from tasks.engine import RUNTIME, Config, PathSetting, Text
from tasks.models.model import ModelConfig

Tracker = Literal["tensorboard", "wandb", "mlflow"]

# Initializations that subtract the fresh adapter from the base's weights, so that both together answer as the base.
INITS_THAT_CHANGE_BASE = ("pissa", "pissa_niter_16", "olora")


class LoraConfig(Config):
    """The adapter: low-rank updates beside frozen weights."""

    r: PositiveInt = Field(16, description="Rank of the update matrices; 4 to 64 is usual.")
    alpha: PositiveInt = Field(32, description="Scale: updates are multiplied by alpha / r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input while training.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases train as well.")
    target_modules: Text | tuple[Text, ...] = Field(
        "all-linear",
        description="'all-linear' (every linear layer but the head), or the names of the layers to adapt.",
    )
    target_parameters: tuple[Text, ...] = Field(
        (),
        description="Weights to adapt that are no layers, by name: a mixture's experts, such as "
        "[mlp.experts.gate_up_proj, mlp.experts.down_proj]. Needs dropout 0.",
    )
    use_rslora: bool = Field(False, description="rsLoRA: the scale is alpha / sqrt(r), so that a large r still learns.")
    use_dora: bool = Field(
        False, description="DoRA: trains each output's magnitude apart from its direction; slower, better at a small r."
    )
    init: Literal["default", "gaussian", "pissa", "pissa_niter_16", "olora", "loftq"] = Field(
        "default",
        description="First weights. default, gaussian: the adapter starts as no change. pissa (exact, minutes for a 7B "
        "model; pissa_niter_16 in seconds), olora: it starts as the base's main directions, and is saved as an "
        "ordinary adapter of twice the rank. loftq: it starts as the error of quantization, and so answers best beside "
        "weights that are quantized the same way.",
    )
    plus_ratio: float = Field(
        1.0, ge=1, description="LoRA+: the learning rate of B is so many times that of A; 16 is usual, 1: the same."
    )
    rank_pattern: Mapping[str, PositiveInt] = Field(
        {}, description="Ranks of single layers, by name or the end of one: {down_proj: 32, layers.0.mlp.up_proj: 4}."
    )
    alpha_pattern: Mapping[str, PositiveInt] = Field(
        {}, description="Alphas of single layers, named as in rank_pattern."
    )

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _are_patterns(cls, pattern: Mapping[str, int]) -> Mapping[str, int]:
        """PEFT reads them as regular expressions."""
        for name in pattern:
            try:
                re.compile(name)
            except re.error as error:
                raise ValueError(f"{name!r} is not a layer's name or a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _check_combinations(self) -> "LoraConfig":
        if self.target_parameters and (self.dropout or self.use_dora or self.bias != "none" or self.init != "default"):
            raise ValueError("target_parameters need dropout: 0, use_dora: false, bias: none and init: default")
        if self.init in INITS_THAT_CHANGE_BASE:
            # PEFT saves it as an ordinary adapter, of A and B alone; see outputs.save_result.
            if self.use_dora:
                raise ValueError(f"init {self.init} is saved without DoRA's magnitudes; set use_dora: false")
            if self.bias != "none":
                raise ValueError(f"init {self.init} is saved without biases; set bias: none")
            if self.use_rslora and (self.rank_pattern or self.alpha_pattern):
                raise ValueError(
                    f"init {self.init} with use_rslora and a rank_pattern or alpha_pattern cannot be saved as an "
                    "ordinary adapter; leave one of the three out"
                )
        if self.init == "loftq" and self.use_dora:
            raise ValueError("DoRA's magnitudes do not count what loftq adds to the base; set use_dora: false")
        return self


class DistributedConfig(Config):
    """How many GPUs train, and how they share the model."""

    strategy: Literal["none", "ddp", "fsdp"] = Field(
        "none",
        description="none: one process, one GPU. ddp: each GPU has the whole base, and a share of each batch. fsdp: "
        "each GPU has a share of the base, too; slower, for a base that does not fit one GPU.",
    )
    processes: PositiveInt | Literal["auto"] = Field(
        "auto", description="So many, a GPU each; batch_size × accumulation is divided among them. auto: all GPUs here."
    )


class TrainConfig(Config):
    """QLoRA fine-tuning with TRL's SFTTrainer; the loss is on answers only."""

    start: Literal["base", "champion"] = Field(
        "base", description="Start with a fresh adapter, or with the champion's (a warm start)."
    )
    replay: float = Field(
        1.0,
        ge=0,
        le=1,
        description="With start: champion, the share of the rows it was trained on to repeat; all new rows count.",
    )
    lora: LoraConfig = LoraConfig()
    model: ModelConfig = ModelConfig()
    loss_on: Literal["answer", "turns"] = Field(
        "answer",
        description="The tokens to learn: those of the last answer, or those of the earlier answers of a conversation, "
        "too, as if each stood alone behind what the model sees before it.",
    )
    epochs: PositiveFloat = Field(1.0, description="Passes over the training data.")
    max_steps: int = Field(
        -1, ge=-1, description="Number of optimizer steps, whatever `epochs` says; -1: as many as the epochs need."
    )
    batch_size: PositiveInt = Field(2, description="Sequences per forward pass.")
    accumulation: PositiveInt = Field(
        4, description="Forward passes per optimizer step, of all processes together; see distributed."
    )
    fit: Annotated[Literal["as_given", "auto"], RUNTIME] = Field(
        "as_given",
        description="auto: choose the forward passes, and gradient checkpointing where that is auto, that are "
        "predicted to fit, with the same effective batch; if memory runs out nevertheless, continue from the last "
        "checkpoint with smaller ones. as_given: stop then, and say what would fit.",
    )
    distributed: Annotated[DistributedConfig, RUNTIME] = DistributedConfig()
    speed: Annotated[Literal["auto", "plain"], RUNTIME] = Field(
        "auto",
        description="auto: where memory has room, 4-bit weights are unpacked once and not in every pass; the weights "
        "are the same numbers, and so is the adapter in float32. plain: they stay packed.",
    )
    optimizer: Text = Field(
        "auto",
        description="'auto': paged_adamw_32bit on CUDA, adamw_torch_fused elsewhere; or any name transformers has.",
    )
    learning_rate: PositiveFloat = Field(2e-4, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Of AdamW, on the adapter's weights.")
    warmup: float = Field(
        0.03, ge=0, description="Below 1 a share of all steps, else a number of steps; scheduler constant has none."
    )
    scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] = Field(
        "constant_with_warmup", description="How the learning rate changes after its peak."
    )
    max_grad_norm: PositiveFloat = Field(0.3, description="Gradients are clipped to this norm.")
    neftune_noise_alpha: float = Field(
        0.0,
        ge=0,
        description="NEFTune: noise on the embeddings while training, of alpha / sqrt(tokens x width), where tokens "
        "are those of the whole packed sequence; 5 is usual, 0: none.",
    )
    group_by_length: bool = Field(False, description="Batch sequences of similar length; of no use when packed.")
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Recompute activations to save memory; 'auto': on CUDA only."
    )
    adapter_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 has 8 bits of mantissa: it drops updates under 0.4 % of a weight."
    )
    seed: int = Field(42, ge=0, description="Seed of the adapter's first weights, of dropout and of the order of rows.")
    deterministic: bool = Field(
        False,
        description="Only deterministic operations: two trainings on one kind of GPU with the same libraries then give "
        "the same adapter; slower, and an operation without a deterministic form is refused. A CPU gives the same "
        "bytes without it, for the same number of threads.",
    )
    eval_steps: PositiveInt = Field(50, description="Optimizer steps between held-out losses.")
    patience: int = Field(
        0, ge=0, description="Stop after so many held-out losses in a row that are no better than the best; 0: never."
    )
    keep: Literal["last", "best"] = Field(
        "last", description="Keep the adapter of the last step, or of the lowest held-out loss."
    )
    save_steps: Annotated[PositiveInt, RUNTIME] = Field(
        50, description="Optimizer steps between checkpoints; rounded up to a multiple of logging_steps."
    )
    logging_steps: PositiveInt = Field(10, description="Optimizer steps between points of the loss curve.")
    report_to: Annotated[tuple[Tracker, ...], RUNTIME] = Field(
        (), description="Experiment trackers; each must be installed and reads its own settings."
    )
    tracking_folder: Annotated[str, RUNTIME, PathSetting(lambda _, config: bool(config.report_to))] = Field(
        "artifacts/.tracking", description="TensorBoard's event files."
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> "TrainConfig":
        if self.max_steps == 0:
            raise ValueError("max_steps is 0; set 1 or more, or -1 for as many as the epochs need")
        if self.start == "base" and self.replay != 1.0:
            raise ValueError("replay chooses among the champion's rows; set start: champion with it")
        lora = self.lora
        if self.distributed.strategy != "none" and self.group_by_length:
            raise ValueError("each process would group by length on its own; set group_by_length: false")
        moves = "init" if lora.init not in ("default", "gaussian") else "use_dora" if lora.use_dora else None
        if self.distributed.strategy == "fsdp" and (moves or lora.bias != "none"):
            raise ValueError(
                f"lora.{moves or 'bias'} needs whole weights of the base in each process; leave it at its default, or "
                "set distributed.strategy: ddp"
            )
        if self.start == "champion" and lora.init != "default":
            raise ValueError(f"lora.init {lora.init} is for a fresh adapter; with start: champion set it to default")
        if lora.init in INITS_THAT_CHANGE_BASE and self.model.quantization != "none":
            # Quantizing the rest differs from subtracting from the quantized base: the saved adapter would answer
            # otherwise than the trained one. PEFT refuses pissa there; for olora it quantizes once more.
            raise ValueError(
                f"lora.init {lora.init} changes the base's weights, which must not be quantized; set "
                "model.quantization: none, or lora.init: loftq"
            )
        if lora.init == "loftq" and self.model.quantization == "none":
            raise ValueError("lora.init loftq makes up for quantization; set model.quantization: nf4, or init: default")
        if lora.plus_ratio != 1 and self.optimizer != "auto" and "adam" not in self.optimizer:
            raise ValueError(f"lora.plus_ratio is LoRA+, for Adam, and optimizer is {self.optimizer}; set it to auto")
        return self
