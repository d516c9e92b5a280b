"""Axolotl with sample packing and its LoRA kernels: ``python -m tests.bench._gpu_axolotl JOB``; JOB as _gpu_trl's.

Writes the YAML that a user would, and runs `axolotl.cli.train` on it. Never run here.
"""

import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path


def main(base: str, rows: str, max_tokens: int, micro_batch: int, accumulation: int, dropout: float, out: str) -> None:
    config = {
        "base_model": base,
        "tokenizer_type": "AutoTokenizer",
        "load_in_4bit": True,
        "adapter": "qlora",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": dropout,
        "lora_target_linear": True,
        **dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), not dropout),  # they take none
        "datasets": [{"path": rows, "ds_type": "json", "type": None}],  # rows that are tokens already
        "dataset_prepared_path": f"{out}/prepared",
        "val_set_size": 0,
        "output_dir": f"{out}/made",
        "sequence_len": max_tokens,
        "sample_packing": True,
        "pad_to_sequence_len": False,
        "attn_implementation": "flash_attention_2" if find_spec("flash_attn") else "flash_attention_torch",
        "micro_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "num_epochs": 1,
        "optimizer": "paged_adamw_32bit",
        "learning_rate": 2e-4,
        "lr_scheduler": "constant",
        "bf16": True,
        "gradient_checkpointing": True,
        "special_tokens": {"pad_token": "<pad>"},
    }
    path = Path(out) / "axolotl.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    sys.argv = ["axolotl.cli.train", str(path)]
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
