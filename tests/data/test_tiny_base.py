"""The tiny base model as it is shipped: standard, small, and tokenised the way the prompt form needs."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = Path(__file__).parents[2] / "data" / "tiny-base"
EVALUATION = Path(__file__).parents[2] / "data" / "plant" / "evaluation.jsonl"
FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BASE)


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in EVALUATION.read_text(encoding="utf-8").splitlines()]


def content(row: dict) -> str:
    return "Context: " + "\n".join(row["context"]) + f"\nQuestion: {row['query']}"


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_folder_holds_a_standard_model_of_at_most_8_megabytes():
    assert {path.name for path in BASE.iterdir()} == FILES
    assert (BASE / "model.safetensors").stat().st_size <= 8_000_000
    config = json.loads((BASE / "config.json").read_text())
    assert config["model_type"] in ("qwen2", "llama") and "auto_map" not in config
    assert config["hidden_size"] // config["num_attention_heads"] == 64
    assert config["tie_word_embeddings"] and config["max_position_embeddings"] >= 1024


def test_special_tokens_are_single_and_have_their_places(tokenizer):
    assert ids(tokenizer, "<pad><s></s>") == [0, 1, 2]
    assert len(ids(tokenizer, "[INST]")) == len(ids(tokenizer, "[/INST]")) == 1
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<s>", "</s>")
    assert {"[INST]", "[/INST]"} <= set(tokenizer.all_special_tokens)


def test_prompt_and_completion_tokenise_apart_as_together(tokenizer, rows):
    for row in rows:
        prompt, completion = f"<s>[INST] {content(row)} [/INST]\nAnswer:", f" {row['answer']}</s>"
        assert ids(tokenizer, prompt) + ids(tokenizer, completion) == ids(tokenizer, prompt + completion)
        assert tokenizer.decode(ids(tokenizer, completion)) == completion


def test_the_chat_template_renders_the_prompt_form(tokenizer, rows):
    row = rows[0]
    asked = [{"role": "user", "content": content(row)}]
    prompt = f"<s>[INST] {content(row)} [/INST]\nAnswer:"
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == prompt
    answered = [*asked, {"role": "assistant", "content": row["answer"]}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == f"{prompt} {row['answer']}</s>"


def test_the_model_loads_and_answers(tokenizer, rows):
    model = AutoModelForCausalLM.from_pretrained(BASE)
    assert model.dtype == torch.bfloat16
    inputs = tokenizer(f"<s>[INST] {content(rows[0])} [/INST]\nAnswer:", add_special_tokens=False, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    assert tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def test_the_card_prints_the_gate():
    card = (BASE / "README.md").read_text(encoding="utf-8")
    for slice_ in ("seen phrases", "unseen phrases", "presence", "unseen words"):
        assert slice_ in card
