"""Merging an adapter into a billion random weights: peak memory, against PEFT's merge with the model in memory.

A base of Llama's shape in bfloat16, in shards of 500 MB, and a LoRA of rank 16 on every linear layer. Each contestant
is a process of its own; its peak is what the kernel counts as resident, mapped pages of the base's files among it.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.models import bundle
from tests.bench.harness import Measured, measure, table, verdict

ABOVE = 1.5e9  # bytes that a merge may take besides the base's own
TARGET = 1.0  # × the base in 16 bits and so much
SHAPE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 20, "vocab_size": 32_000}
PLACES = "import sys; from pathlib import Path; base, adapter, out = map(Path, sys.argv[1:4])"
OURS = """
from tasks.models.merge import merge
from tasks.models.model import ModelConfig
merge(adapter, base, out, ModelConfig(), sys.argv[4])
"""
PEFT = """
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
"""


def made(folder: Path, shape: dict[str, int]) -> int:
    """Write base and adapter below the folder; returns the base's bytes."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**shape, num_attention_heads=16, num_key_value_heads=4)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"}
    updates = {}
    for name, module in linear.items():
        for part, sides in (("A", (16, module.in_features)), ("B", (module.out_features, 16))):
            updates[f"base_model.model.{name}.lora_{part}.weight"] = torch.randn(sides) * 0.02
    model.to_empty(device="cpu")
    for weight in model.parameters():
        weight.data.normal_(std=0.02)
    model.save_pretrained(folder / "base", max_shard_size="500MB")
    LoraConfig(r=16, task_type="CAUSAL_LM", target_modules="all-linear").save_pretrained(folder / "adapter")
    save_file(updates, folder / "adapter/adapter_model.safetensors")
    facts = {"key": "k", "base": bundle.Base(name="b"), "quantization": "nf4", "data": None, "refusal": {}}
    bundle.seal(folder / "adapter", bundle.Manifest(**facts))
    return sum(path.stat().st_size for path in (folder / "base").glob("*.safetensors"))


def merged(folder: Path, code: str, out: str, onto: str = "") -> Measured:
    places = [folder / name for name in ("base", "adapter", out)]
    return measure([sys.executable, "-c", f"{PLACES}\n{code}", *places, onto])


def main() -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        size = made(folder, SHAPE)
        samples = {
            "into its own weights": [merged(folder, OURS, "full", "full")],
            "into weights as 4-bit training saw them": [merged(folder, OURS, "quantized", "quantized")],
            "PEFT, in memory": [merged(folder, PEFT, "peft")],
        }
    table(f"Merging into {size / 2e9:.2f} billion weights, {size / 2**20:,.0f} MiB", samples)
    peak = max(each.peak for name in list(samples)[:2] for each in samples[name])
    verdict("merge", ratio=peak / (size + ABOVE), target=TARGET, peak=peak, base=size)


if __name__ == "__main__":
    main()
