"""Tokens of texts, piece by piece, are those of the whole texts, for every kind of tokenizer that is taken apart."""

import inspect
import json
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from tasks.engine.code.source import ROOT
from tasks.prompts import pieces
from tasks.prompts.pieces import WORDS, Pieces, comes_apart

SPECIAL = ["<s>", "</s>", "[INST]", "<|reserved_7|>", "<|im_start|>"]
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
# Text: words, numbers, marks, white space of all kinds, letters and digits beyond ASCII, control tokens.
FRAGMENTS = [
    *[
        "a",
        "B",
        "7",
        "42",
        "1,250.5",
        "U-100",
        "it's",
        "'S",
        "we'll",
        '."',
        "(2)",
        "--",
        "%",
        "_",
        "<s>",
        "</s>",
        "[INST]",
        "<|reserved_7|>",
        "<|im_start|>",
        "<|reserved_",
    ],
    *[
        " ",
        "  ",
        "\n",
        " \n",
        "\r\n",
        "\t",
        "\u00a0",
        "\u2003",
        "é",
        "e\u0301",
        "\u0301",
        "ß",
        "Ǆ",
        "²",
        "٣",
        "Ⅷ",
        "漢字",
        "🙂",
        "\x7f",
    ],
]
TEXTS = st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), min_size=2, max_size=6)


def tokenizer(splitter, normalizer=None, **special) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.normalizer = splitter, normalizer
    sample = (ROOT / "data/plant/train.jsonl").read_text().splitlines()[:300]
    tokens = [AddedToken(each, **({"special": True, "normalized": False} | special)) for each in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*sample, *map("".join, pairwise(FRAGMENTS))], trainer)
    return made


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def by_words(pattern, normalizer=None):
    return tokenizer(pre_tokenizers.Sequence([split(pattern), BYTES]), normalizer)


TAKEN_APART = {
    **{f"words {number}": partial(by_words, pattern) for number, pattern in enumerate(sorted(WORDS))},
    "words, NFC": lambda: by_words(max(WORDS), normalizers.NFC()),
    "words, NFKC": lambda: by_words(max(WORDS), normalizers.NFKC()),
    "GPT-2": lambda: tokenizer(GPT2),
    "GPT-2, NFD": lambda: tokenizer(GPT2, normalizers.NFD()),
    "digits by threes": lambda: tokenizer(pre_tokenizers.Sequence([split(r"\p{N}{1,3}"), GPT2])),
    "digits alone": lambda: tokenizer(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])),
    "normalized special tokens": lambda: tokenizer(GPT2, normalizers.NFKC(), normalized=True),
    "the tiny base": lambda: Tokenizer.from_file(str(ROOT / "data/tiny-base/tokenizer.json")),
}


@cache
def made(name):
    return TAKEN_APART[name]()


@pytest.mark.parametrize("name", TAKEN_APART)
@given(texts=TEXTS)
@example(texts=["", "a 7", ""])
@example(texts=["ends with a space ", " begins with one"])
@example(texts=["<|reserved_7|> 7", "a7 b"])
def test_the_tokens_are_those_of_the_whole_texts(name, texts):
    backend = made(name)
    assert comes_apart(backend)
    tokens = Pieces(backend).tokens(texts)
    assert [row.tolist() for row in tokens] == [backend.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_sample_is_made_of_few_pieces_and_each_is_tokenised_once(monkeypatch):
    rows = [json.loads(line) for line in (ROOT / "data/plant/train.jsonl").open()]
    texts = ["\n".join(row["context"]) + row["query"] for row in rows]
    by_piece = Pieces(made("the tiny base"))
    asked = []
    whole = by_piece._whole
    monkeypatch.setattr(by_piece, "_whole", lambda texts: asked.extend(texts) or whole(texts))
    first = by_piece.tokens(texts)
    again = by_piece.tokens(texts)
    assert np.array_equal(first.values, again.values)
    assert len(asked) == len(set(asked)) < sum(text.count(" ") for text in texts) / 5


def test_pieces_are_forgotten_when_they_are_too_many(monkeypatch):
    monkeypatch.setattr(pieces, "MOST", 10)
    backend = made("GPT-2")
    by_piece = Pieces(backend)
    for start in range(0, 100, 20):
        texts = [f"row {number} of many" for number in range(start, start + 20)]
        assert [row.tolist() for row in by_piece.tokens(texts)] == [e.ids for e in backend.encode_batch(texts)]
        assert len(by_piece._places) < 40


def test_an_interruption_leaves_no_piece_with_the_tokens_of_another(monkeypatch):
    backend = made("GPT-2")
    by_piece = Pieces(backend)
    texts = ["one row of many", "another row of two"]
    with monkeypatch.context() as patch:
        patch.setattr(by_piece, "_whole", interrupted)
        with pytest.raises(KeyboardInterrupt):
            by_piece.tokens(texts)
    for asked in (["quite other words", "in two texts"], texts):
        assert [row.tolist() for row in by_piece.tokens(asked)] == [e.ids for e in backend.encode_batch(asked)]


def interrupted(texts):
    raise KeyboardInterrupt


def test_patterns_are_those_that_the_libraries_use():
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert PRETOKENIZE_REGEX in WORDS
    assert inspect.signature(TikTokenConverter).parameters["pattern"].default in WORDS


KEPT_WHOLE = {
    "a space before every text": lambda: tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "words that take in spaces": lambda: tokenizer(pre_tokenizers.Sequence([split(r"\w+ \w+"), GPT2])),
    "nothing that cuts": lambda: tokenizer(BYTES),
    "nothing at all": lambda: tokenizer(None),
    "SentencePiece's": lambda: tokenizer(pre_tokenizers.Metaspace()),
    "a normalizer that adds": lambda: tokenizer(GPT2, normalizers.Prepend("▁")),
    "a token that eats spaces": lambda: tokenizer(GPT2, lstrip=True),
    "a token that wants a whole word": lambda: tokenizer(GPT2, single_word=True),
    "a token with a space": lambda: with_token(tokenizer(GPT2), "two words"),
    "dropout": lambda: with_dropout(tokenizer(GPT2)),
    "no BPE": lambda: Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
}


def with_token(made: Tokenizer, token: str) -> Tokenizer:
    made.add_tokens([token])
    return made


def with_dropout(made: Tokenizer) -> Tokenizer:
    made.model.dropout = 0.5
    return made


@pytest.mark.parametrize("name", KEPT_WHOLE)
def test_whatever_is_not_known_to_come_apart_is_kept_whole(name):
    backend = KEPT_WHOLE[name]()
    assert not comes_apart(backend)
    if name != "dropout":
        texts = ["two words, a 7", " it eats <s> spaces"] if name != "no BPE" else ["a", "a"]
        tokens = Pieces(backend).tokens(texts)
        assert [row.tolist() for row in tokens] == [
            e.ids for e in backend.encode_batch(texts, add_special_tokens=False)
        ]
