"""A small tokenizer for each model family that has a prompt template."""

from pathlib import Path

PASSAGES = ["The pressure limit of P-204 is 43 bar.", "The oil grade is VG 46.\nIt has two lines. "]
QUERY = "What is the pressure limit?"
ANSWER = "43 bar, sheet P-204."
REFUSAL = "Not stated in the sheet."


# template: (special tokens of its family, the first of them for padding; end; beginning)
FAMILIES = {
    "inst": (["<pad>", "<s>", "</s>", "[INST]", "[/INST]"], "</s>", "<s>"),
    "mistral": (["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "</s>", "<s>"),
    "mistral-v1": (["<unk>", "<s>", "</s>"], "</s>", "<s>"),
    "llama2": (["<unk>", "<s>", "</s>"], "</s>", "<s>"),
    "llama3": (
        ["<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|eot_id|>",
        "<|begin_of_text|>",
    ),
    "gemma": (["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<eos>", "<bos>"),
    "qwen": (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|im_end|>", None),
}


def family_tokenizer(folder: Path, specials: list[str], *, eos: str, bos: str | None = None) -> None:
    """A byte-level BPE tokenizer with these special tokens, and a config.json for AutoTokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        [*PASSAGES, QUERY, ANSWER, REFUSAL] * 9,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, bos_token=bos, pad_token=specials[0])
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(tokenizer)).save_pretrained(folder)  # for Qwen2, AutoTokenizer has a splitter of its own
