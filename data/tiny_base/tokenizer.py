"""The tokenizer: byte-level BPE over the synthetic corpus, loadable by AutoTokenizer without custom code.

A digit is a token of its own, but joined to its leading space, so the first token of a number
already says something about it. [INST] and [/INST] are special tokens; the chat template renders
the prompt form of this project exactly.
"""

import json
from functools import lru_cache
from pathlib import Path

import words as w
from corpus import LEXICON, UNREAD, Writer, capital
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 3072
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]\\nAnswer:' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + '</s>' }}{% endif %}{% endfor %}"
)


def train_tokenizer() -> PreTrainedTokenizerFast:
    assert not UNREAD & set(LEXICON)
    writer = Writer("tokenizer")
    lines = []
    for _ in range(6000):
        page = writer.lesson(2)
        lines.append(
            page.text
            + " "
            + " ".join("".join(p.text for p in q.pieces) + "\nAnswer: " + q.answer for q in page.questions)
        )
    every_word = LEXICON + w.UNITS + w.MONTHS + w.PLACES
    lines += [f"{form} {form}" for word in every_word for form in (" " + word, " " + capital(word)) for _ in range(40)]

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", "[INST]", "[/INST]"]
    core.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[AddedToken(t, special=True, normalized=False) for t in specials],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="right",
        additional_special_tokens=["[INST]", "[/INST]"],
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


class Encoder:
    """Encodes word by word, remembering each. A space always starts a new token, so this equals encoding the whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.word = lru_cache(200_000)(lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = []
        start = 0
        for i, letter in enumerate(text):
            if letter == " " and i > start:
                ids += self.word(text[start:i])
                start = i
        return ids + list(self.word(text[start:])) if text else ids


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """In the form that both transformers 4 and 5 read, the chat template inside the config."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["[INST]", "[/INST]"],
        "chat_template": CHAT_TEMPLATE,
    }
    for key in ("backend", "extra_special_tokens"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
