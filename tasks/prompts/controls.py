"""Control strings: what a tokenizer or a template reads as structure, and text must never be able to write."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# <s>, </s>, <|im_start|>, <start_of_turn>, <<SYS>>, [INST], [/INST]
MARKER = re.compile(r"<<?/?\|?[A-Za-z][\w .:-]{0,40}\|?>?>|\[/?[A-Z][A-Z_]+\]")


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
    """Takes the force out of control strings in text, by a space behind their first character: ``<s>`` → ``< s>``."""

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
