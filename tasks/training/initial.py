"""LoftQ: an adapter that begins as what quantization took from the base's weights."""

from pathlib import Path
from typing import Any

from tasks.models.model import ModelConfig, load_base

ITERATIONS = 16  # of the randomised SVD: quantization errors are nearly noise, whose singular values fall off slowly
OVERSAMPLED = 16


def compensate(model: Any, base: Path, config: ModelConfig) -> None:
    """Set A and B so that scale · B A is the best rank-r part of (weight - quantized weight), packed or unpacked.

    Reads the whole base once more, on the CPU in bfloat16 (2 bytes a weight). PEFT's own `replace_lora_weights_loftq`
    runs on a GPU only, and takes the scale for 1: with alpha 32 and r 16 it would add twice the error back.
    """
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    as_published = config.model_copy(update={"quantization": "none", "device": "cpu", "compute_dtype": "bfloat16"})
    whole = load_base(base, as_published)
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        held = dequantize_module_weight(layer.get_base_layer()).float()
        weight: Any = whole.get_submodule(name).weight
        lost = weight.to(held) - held
        rank, scale = layer.r["default"], layer.scaling["default"]
        u, s, v = torch.svd_lowrank(lost, min(rank + OVERSAMPLED, *lost.shape), niter=ITERATIONS)
        root = (s[:rank] / scale).sqrt()
        inward: Any = layer.lora_A["default"]
        outward: Any = layer.lora_B["default"]
        a, b = inward.weight, outward.weight
        a.data[: len(root)] = (root[:, None] * v[:, :rank].T).to(a.dtype)
        b.data[:, : len(root)] = (u[:, :rank] * root).to(b.dtype)
