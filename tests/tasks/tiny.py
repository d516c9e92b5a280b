"""A toy base model and packed datasets, made in a second: enough to run every step for real."""

from pathlib import Path

from tasks.prompts import PromptConfig

CHAT = (Path(__file__).parent / "course.jinja").read_text()
COURSE = PromptConfig(system="", user="Context: {{ passages | join('\\n') }}\nQuestion: {{ query }}")


def toy_base(folder: Path, *, vocabulary: int = 300) -> Path:
    """A random Qwen2 of 2 layers with a byte-level tokenizer that knows the course's control tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    special = ["<pad>", "<s>", "</s>", "[INST]", "[/INST]"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["the pump runs at 40 bar"],
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["[INST]", "[/INST]"],
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer.get_vocab()),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        intermediate_size=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def packed(folder: Path, *, rows: int, seed: int = 0) -> Path:
    """`rows` packed sequences of two examples each, as `build` writes them; the answers use four tokens only."""
    import random

    import numpy as np
    import pyarrow as pa

    from tasks.data.dataset.folder import Lengths, finish, tokens_schema
    from tasks.data.dataset.packing import Packing

    made = random.Random(seed)
    ids = []
    for _ in range(2 * rows):
        length = made.randint(10, 20)
        ids.append([made.randint(5, 250) for _ in range(6)] + [made.randint(10, 13) for _ in range(length - 6)])
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(str(folder / "00000.arrow"), tokens_schema()) as stream:
        stream.write_table(
            pa.table(
                [pa.array(ids, pa.list_(pa.int32())), pa.array([6] * len(ids), pa.int32())], schema=tokens_schema()
            )
        )
    finish(folder, Lengths.of(folder), Packing(np.arange(2 * rows, dtype=np.int32), np.arange(2, 2 * rows + 1, 2)))
    return folder


def inputs_in(folder: Path, *, rows: int, heldout: int = 2) -> dict[str, Path]:
    """What a training is given, by name, with so many sequences to train on and to hold it against."""
    return {
        "train": packed(folder / "train", rows=rows),
        "heldout": packed(folder / "heldout", rows=heldout, seed=1),
        "base": toy_base(folder / "base"),
    }
