"""What makes a training faster and leaves its recipe as it is."""

from typing import Any

from tasks.training.config import TrainConfig


def unpacks(config: TrainConfig) -> bool:
    """Whether the config lets 4-bit weights be unpacked; LoftQ and its like are made from them, or move them."""
    return config.speed == "auto" and config.model.quantization != "none" and config.lora.init == "default"


def unpack(config: TrainConfig, model: Any) -> Any:
    """The model with whole weights in the place of its 4-bit ones.

    They are the same numbers: bitsandbytes unpacks a weight to the compute dtype in each forward and backward pass, and
    this does it once. Four bits buy memory, not speed: on a CPU the tiny base trains 1.2 times as fast, with the same
    bytes. In 16 bits they differ in rounding: what a packed layer gives is cast to float32 before SiLU.
    """
    import torch

    from tasks.models.model import compute_dtype

    whole = model.dequantize(dtype=compute_dtype(config.model, model.device.type)[0])
    for module in whole.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.requires_grad_(False)
    return whole
