"""An adapter merged into its base model, for servers without adapters: a weight at a time.

Memory holds two shards of half a gigabyte and one weight in float32, whatever the size of the base.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import orjson

from tasks.engine.errors import UserError
from tasks.engine.storage.objects import apply_umask
from tasks.models.bundle import Manifest, require_intact, seal
from tasks.models.model import ModelConfig, auto_class, require_lora

SHARD = 1 << 29  # bytes; safetensors holds a shard twice while it writes it
OWN = ("adapter_config.json", "adapter_model.safetensors", "README.md", "MANIFEST.json")  # of the adapter alone
Onto = Literal["full", "quantized"]


def merge(bundle: Path, base: Path, out: Path, config: ModelConfig, onto: Onto = "full") -> Manifest:
    """Write the base with the adapter's update, in the base's dtype, and the bundle's rest to the new folder `out`.

    `onto` full: the base's weights as they are; quantized: as training saw them, quantized as `config` says and
    unpacked again. Raises UserError where an update finds no weight, and for adapters that are more than LoRA or DoRA
    of single weights.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    manifest = require_intact(bundle)
    require_lora(bundle)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty", "name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(p, framework="pt")) for p in sorted(base.glob("*.safetensors"))]
        updates = _Updates(bundle, {name for file in files for name in file.keys()})  # noqa: SIM118
        linear = _linear(base) if onto == "quantized" and config.quantization != "none" else frozenset()
        index: dict[str, str] = {}
        total = 0
        for number, shard in enumerate(_shards(files), 1):
            name = f"model-{number:05}.safetensors"
            merged: dict[str, Any] = {}
            for each, file in shard:
                weight = file.get_tensor(each)
                dtype = weight.dtype
                if each.removesuffix(".weight") in linear:
                    weight = _quantized(weight, config)
                merged[each] = updates.added(each, weight).to(dtype).contiguous()
                index[each] = name
                total += merged[each].numel() * merged[each].element_size()
            with torch.no_grad():
                save_file(merged, out / name, metadata={"format": "pt"})
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    described = {"metadata": {"total_size": total}, "weight_map": index}
    (out / "model.safetensors.index.json").write_bytes(orjson.dumps(described, option=options))
    (out / "config.json").write_bytes((base / "config.json").read_bytes())
    for path in bundle.iterdir():
        if path.is_file() and path.name not in OWN:
            (out / path.name).write_bytes(path.read_bytes())
    apply_umask(out)  # safetensors gives its files to their owner alone, and another user may serve them
    return seal(out, manifest.model_copy(update={"kind": "merged", "rank": None, "max_lora_rank": None}))


def _shards(files: list[Any]) -> Iterator[list[tuple[str, Any]]]:
    """Names of weights, each with its file, about `SHARD` bytes at a time."""
    shard: list[tuple[str, Any]] = []
    size = 0
    for file in files:
        for name in file.keys():  # noqa: SIM118
            bytes_of = 2
            for side in file.get_slice(name).get_shape():
                bytes_of *= side
            if shard and size + bytes_of > SHARD:
                yield shard
                shard, size = [], 0
            shard.append((name, file))
            size += bytes_of
    yield shard


class _Updates:
    """What a LoRA adapter adds, by the name of the base's weight."""

    def __init__(self, bundle: Path, weights: set[str]) -> None:
        from peft import LoraConfig
        from safetensors.torch import load_file

        config: Any = LoraConfig.from_pretrained(str(bundle))
        self._config = config
        self._parts: dict[str, dict[str, Any]] = {}
        for name, tensor in load_file(bundle / "adapter_model.safetensors").items():
            found = re.fullmatch(r"base_model\.model\.(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?", name)
            target = f"{found[1]}.weight" if found else ""
            if found is None or target not in weights or config.fan_in_fan_out or config.lora_bias:
                raise UserError(
                    f"{bundle}: {name} is no update of a single linear weight of the base model's files",
                    "merge it with PEFT: `merge_and_unload`, with the model in memory",
                )
            self._parts.setdefault(target, {})[found[2]] = tensor

    def added(self, name: str, weight: Any) -> Any:
        """The weight with its update, in float32 if there is one."""
        import torch

        part = self._parts.get(name)
        if part is None:
            return weight
        whole = weight.float() + self._scaling(name.removesuffix(".weight")) * (
            part["lora_B"].float() @ part["lora_A"].float()
        )
        if (magnitude := part.get("lora_magnitude_vector")) is not None:
            whole *= (magnitude.float() / torch.linalg.norm(whole, dim=1))[:, None]
        return whole

    def _scaling(self, module: str) -> float:
        from peft.utils.other import get_pattern_key

        config = self._config
        rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), module), config.r)
        alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
        scaling: float = alpha / (rank**0.5 if config.use_rslora else rank)
        return scaling


def _linear(base: Path) -> frozenset[str]:
    """The layers that are quantized: the linear ones but the head."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model: Any = auto_class(base).from_config(config)
    head = model.get_output_embeddings()
    return frozenset(n for n, each in model.named_modules() if isinstance(each, torch.nn.Linear) and each is not head)


def _quantized(weight: Any, config: ModelConfig) -> Any:
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        weight.float(), quant_type=config.quantization, compress_statistics=config.double_quant
    )
    return functional.dequantize_4bit(packed, state)
