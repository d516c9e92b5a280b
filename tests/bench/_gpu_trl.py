"""Plain TRL with packing, as its documentation has QLoRA: ``python -m tests.bench._gpu_trl JOB``.

Best-fit-decreasing packing, loss on the answers, gradient checkpointing as SFTConfig has it by default;
FlashAttention 2 where it is installed, else SDPA, for which transformers makes a mask from the positions.
JOB is JSON: {"base", "rows": JSONL of {"input_ids", "completion_mask", …}, "max_tokens", "micro_batch",
"accumulation", "dropout", "out"}.
"""

import json
import sys
from pathlib import Path


def main(base: str, rows: str, max_tokens: int, micro_batch: int, accumulation: int, dropout: float, out: str) -> None:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils.import_utils import is_flash_attn_2_available
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        base,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=True,
        ),
        dtype=dtype,
        attn_implementation="flash_attention_2" if gpu and is_flash_attn_2_available() else "sdpa",
        device_map={"": 0 if gpu else "cpu"},
    )
    arguments = SFTConfig(
        output_dir=f"{out}/checkpoints",
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=1,
        learning_rate=2e-4,
        optim="paged_adamw_32bit" if gpu else "adamw_torch",
        bf16=gpu,
        use_cpu=not gpu,
        max_length=max_tokens,
        packing=True,
        packing_strategy="bfd",
        completion_only_loss=True,
        report_to="none",
        disable_tqdm=True,
    )
    SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=load_dataset("json", data_files=rows, split="train").select_columns(
            ["input_ids", "completion_mask"]
        ),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    ).train()


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
