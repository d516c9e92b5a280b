"""What a prompt needs of a base model's tokenizer, and what text must not hold of it."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# <s>, </s>, <|im_start|>, <start_of_turn>, <<SYS>>, [INST], [/INST], [|user|]
MARKER = re.compile(r"<<?/?\|?[A-Za-z][\w .:-]{0,40}\|?>?>|\[/?[A-Z][A-Z_]+\]|\[\|\w{1,40}\|\]")


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """The tokenizer's control strings and their ids.

    These are its special tokens, and the added tokens that look like a marker, such as Qwen's ``<tool_call>``; not
    added runs of white space.
    """
    return {
        token.content: id_
        for id_, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip() and (token.special or MARKER.fullmatch(token.content))
    }


class Defuser:
    """Makes control strings in text harmless by a space behind their first character: ``<s>`` → ``< s>``."""

    def __init__(self, controls: Iterable[str]) -> None:
        self._controls = sorted({c for c in controls if c.strip()}, key=lambda c: (-len(c), c))
        self._first = {c[0] for c in self._controls}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._controls)))

    def __call__(self, text: str) -> str:
        if not any(character in text for character in self._first):  # most text; the pattern would be 30 times slower
            return text
        # A space can complete a control string that has one inside, so go on until nothing is left. Each round
        # lengthens the text at places that no later round touches twice for one string, so this ends.
        while self._pattern.search(text):
            text = self._pattern.sub(_break, text)
        return text


def _break(match: re.Match[str]) -> str:
    control = match.group()
    return f"{control[0]} {control[1:]}" if len(control) > 1 else " "


class Vocabulary(NamedTuple):
    """What a prompt needs of a base model. It can be pickled, and needs no transformers."""

    backend: "Tokenizer"
    controls: dict[str, int]  # control strings and their ids
    size: int
    end: int | None  # the id that ends a text
    template: str | None = None  # the chat template
    tokens: dict[str, Any] = {}  # what a template may name, such as bos_token
    embeddings: int | None = None  # ids that the model knows

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", base: Path | None = None) -> "Vocabulary":
        """Of a tokenizer, and of the model in the folder `base`."""
        end, template = tokenizer.eos_token_id, tokenizer.chat_template
        assert end is None or isinstance(end, int)
        config = orjson.loads((base / "config.json").read_bytes()) if base else {}
        return cls(
            tokenizer.backend_tokenizer,
            control_tokens(tokenizer),
            len(tokenizer),
            end,
            template.get("default") if isinstance(template, dict) else template,
            tokenizer.special_tokens_map,
            config.get("vocab_size") or config.get("text_config", {}).get("vocab_size"),
        )

    @property
    def plain(self) -> dict[str, Any]:
        """All but the tokenizer itself, as JSON has it."""
        return {name: value for name, value in self._asdict().items() if name != "backend"}
