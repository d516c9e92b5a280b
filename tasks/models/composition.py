"""What a base model is made of, in numbers, before it is loaded: what is quantized, what adapted, what neither."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

Kind = Literal["experts", "hybrid", "wrapper", "prequantized"]


class Composition(NamedTuple):
    """Weights by how they are trained; a tied head counts once."""

    kinds: tuple[Kind, ...]  # none: a dense decoder
    total: int
    linear: int  # of linear layers but the head: quantized, and adapted by all-linear where they are the text's
    experts: int  # of mixtures: matrices that are no layers; neither quantized nor adapted by all-linear
    beside: int  # of parts that read pictures or sound: not adapted
    published: str  # how prequantized weights come, such as fp8, or ""

    @property
    def quantized_share(self) -> float:
        return self.linear / self.total if self.total else 0.0


def expert_weights(model: Any) -> dict[str, Any]:
    """The stacked matrices of a mixture's experts, [experts, out, in], by name."""
    from torch.nn.modules.conv import _ConvNd

    stacked: dict[str, Any] = {}
    for name, module in model.named_modules():
        if not isinstance(module, _ConvNd):
            parameters = module.named_parameters(name, recurse=False)
            stacked |= {each: weight for each, weight in parameters if weight.ndim == 3 and weight.shape[0] > 1}
    return stacked


def composition(model: Any) -> Composition:
    """Of a transformers model, loaded or on the meta device."""
    import torch

    head, decoder = model.get_output_embeddings(), model.get_decoder()
    linear = [each for each in model.modules() if isinstance(each, torch.nn.Linear) and each is not head]
    text = {id(weight) for part in (decoder, head) if part is not None for weight in part.parameters()}
    sizes = {id(weight): weight.numel() for weight in model.parameters()}
    for each in linear:  # a 4-bit weight has another size
        sizes[id(each.weight)] = each.in_features * each.out_features
    experts = sum(weight.numel() for weight in expert_weights(model).values())
    beside = sum(size for weight, size in sizes.items() if weight not in text)
    layers = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    recurrent = any("attention" not in each or "linear" in each for each in layers)
    recurrent |= any(hasattr(each, "A_log") for each in model.modules())
    published = (getattr(model.config, "quantization_config", None) or {}) if model.device.type == "meta" else {}
    method = published.get("quant_method", "") if isinstance(published, dict) else ""
    found: dict[Kind, Any] = {"experts": experts, "hybrid": recurrent, "wrapper": beside, "prequantized": method}
    return Composition(
        kinds=tuple(kind for kind, holds in found.items() if holds),
        total=sum(sizes.values()),
        linear=sum(each.in_features * each.out_features for each in linear),
        experts=experts,
        beside=beside,
        published=str(method),
    )


def composition_of(base: Path) -> Composition | None:
    """Of the model in a folder, from its config.json alone; None if transformers does not know it. Takes seconds."""
    import torch
    from transformers import AutoConfig

    from tasks.models.model import auto_class

    try:
        config = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = auto_class(base).from_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        return None
    return composition(model)
