"""The course's script, ported to today's TRL without any other change: ``python -m tests.bench._course JOB``.

What the port had to change: `tokenizer` is `processing_class`; `max_seq_length`, `packing` and `dataset_text_field` are
fields of SFTConfig; `group_by_length` is a sampling strategy, `warmup_ratio` a share as `warmup_steps`; the GPU that it
names is the CPU here. Its batch of 2 × 4, its adapter on q_proj and v_proj and its loss on every token stay.

JOB is JSON: {"base", "texts": JSONL of {"text"}, "max_tokens", "out"}. Prints {"seconds", "tokens", "examples"}.
"""

import json
import sys
import time
from pathlib import Path


def main(base: str, texts: str, max_tokens: int, out: str) -> None:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    bf16 = gpu and torch.cuda.is_bf16_supported()
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    model = AutoModelForCausalLM.from_pretrained(
        base,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
            bnb_4bit_use_double_quant=True,
        ),
        dtype=torch.bfloat16 if bf16 else torch.float32,
        device_map={"": 0 if gpu else "cpu"},
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=gpu)
    model.config.use_cache = False
    dataset = load_dataset("json", data_files=texts, split="train")
    arguments = SFTConfig(
        output_dir=f"{out}/checkpoints",
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        optim="paged_adamw_32bit",
        save_steps=50,
        logging_steps=10,
        learning_rate=2e-4,
        bf16=bf16,
        max_grad_norm=0.3,
        num_train_epochs=1,
        warmup_steps=0.03,
        train_sampling_strategy="group_by_length",
        lr_scheduler_type="constant",
        report_to="none",
        dataset_text_field="text",
        max_length=max_tokens,
        packing=False,
        gradient_checkpointing=gpu,
        use_cpu=not gpu,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        train_dataset=dataset,
        peft_config=LoraConfig(
            r=16,
            lora_alpha=32,
            target_modules=["q_proj", "v_proj"],
            lora_dropout=0.05,
            bias="none",
            task_type="CAUSAL_LM",
        ),
        args=arguments,
        processing_class=tokenizer,
    )
    tokens = sum(len(row) for row in trainer.train_dataset["input_ids"])
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    trainer.model.save_pretrained(f"{out}/adapter")
    print(json.dumps({"seconds": seconds, "tokens": tokens, "examples": len(dataset)}))


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
