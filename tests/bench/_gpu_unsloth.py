"""Unsloth with packing, as its documentation has QLoRA: ``python -m tests.bench._gpu_unsloth JOB``; JOB as _gpu_trl's.

Never run here: it asks for a GPU when it is imported.
"""

import json
import sys
from pathlib import Path

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(base: str, rows: str, max_tokens: int, micro_batch: int, accumulation: int, dropout: float, out: str) -> None:
    from unsloth import FastLanguageModel  # isort: skip  # first: it changes what the others import

    import torch
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=base, max_seq_length=max_tokens, dtype=torch.bfloat16, load_in_4bit=True
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        lora_dropout=dropout,
        bias="none",
        target_modules=LINEAR,
        use_gradient_checkpointing="unsloth",
        max_seq_length=max_tokens,
    )
    dataset = load_dataset("json", data_files=rows, split="train")
    SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=f"{out}/checkpoints",
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=1,
            learning_rate=2e-4,
            optim="adamw_8bit",
            bf16=True,
            max_length=max_tokens,
            packing=True,
            completion_only_loss=True,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=dataset.select_columns(["input_ids", "completion_mask"]),
        processing_class=tokenizer,
    ).train()


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
