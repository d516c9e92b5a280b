"""The prompt of one model family, rendered and tokenised the same way for training, evaluation and serving."""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.engine.errors import UserError
from tasks.prompts.pieces import Pieces, Tokens
from tasks.text.language import ENGLISH, instruction, language_digests, refusal_sentence

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

VARIABLES = "passages, query, instruction, refusal, and answer (defined only when there is one)"
Asked = tuple[Sequence[str], str] | tuple[Sequence[str], str, str]  # passages, query, and if not English its language


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
    """What a prompt needs of a tokenizer. It can be pickled, and needs no transformers."""

    backend: "Tokenizer"
    controls: dict[str, int]  # control strings and their ids
    size: int
    end: int | None  # the id that ends a text

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "Vocabulary":
        end = tokenizer.eos_token_id
        assert end is None or isinstance(end, int)
        return cls(tokenizer.backend_tokenizer, control_tokens(tokenizer), len(tokenizer), end)


class Prompt:
    """A Jinja template bound to a tokenizer.

    The template renders ``passages`` and ``query``, may tell the model the ``instruction`` and the ``refusal`` sentence
    in the row's language, and appends ``answer`` where it is defined. Rendered without the answer it is the prompt; the
    rest is the completion. A `refusal` that is given replaces the languages' own.

    Text never becomes structure: control strings inside passages, query and answer are defused before rendering, and
    the special tokens of the result must be exactly the template's own.

    Raises UserError if the template does not compile, names an unknown variable, leaves out a passage or the query,
    changes the prompt when there is an answer, or ends the answer with no token that the tokenizer knows as special.
    """

    def __init__(
        self,
        template: str,
        tokenizer: "PreTrainedTokenizerBase | Vocabulary",
        refusal: str | None = None,
        *,
        name: str = "the prompt template",
    ) -> None:
        vocabulary = tokenizer if isinstance(tokenizer, Vocabulary) else Vocabulary.of(tokenizer)
        self._made_from = (template, vocabulary, refusal, name)
        self._name = name
        self._template = _compile(template, name)
        self._backend = vocabulary.backend
        self._backend.no_truncation()
        self._backend.no_padding()
        self._tokens = Pieces(self._backend).tokens
        self._is_control = _table(vocabulary.controls.values(), size=vocabulary.size)
        self.defuse = Defuser(())
        self._told = lru_cache(maxsize=None)(self._told_in)
        own = set(MARKER.findall(self._raw(["a"], "a") + self._raw(["a"], "a", answer="a")))
        self._plain = sorted(own - vocabulary.controls.keys())  # such as [INST] in a tokenizer without this token
        self.defuse = Defuser(own | vocabulary.controls.keys())
        self._told.cache_clear()
        self._before, self._after, self._anchor = self._shape()
        self._anchor_ids = self._tokens([self._anchor]).values
        self._expected = lru_cache(maxsize=None)(self._expected_of)
        self.stop_ids = self._stop_ids(vocabulary.end)

    def __reduce__(self) -> tuple[Any, ...]:
        """A compiled template cannot be pickled. What can is hashable, so that a worker makes one prompt of it once."""
        template, vocabulary, refusal, name = self._made_from
        controls = tuple(vocabulary.controls.items())
        return _prompt, (template, self._written, controls, vocabulary.size, vocabulary.end, refusal, name)

    @cached_property
    def _written(self) -> str:
        """The tokenizer as JSON: 11 MB for one of 150,000 words."""
        text: str = self._backend.to_str()
        return text

    @cached_property
    def digest(self) -> str:
        """Identifies what determines the tokens: template, tokenizer and refusal sentence, not their paths."""
        template, vocabulary, refusal, _ = self._made_from
        shaping = (
            template,
            repr((refusal, language_digests())),
            self._written,
            repr(sorted(vocabulary.controls.items())),
        )
        return sha256("\0".join(shaping).encode()).hexdigest()

    @classmethod
    def load(
        cls, template: Path, tokenizer: "PreTrainedTokenizerBase | Vocabulary", refusal: str | None = None
    ) -> "Prompt":
        """The prompt of a template file."""
        try:
            text = template.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{template} cannot be read: {error}", "name a template file in UTF-8") from error
        return cls(text, tokenizer, refusal, name=str(template))

    def render(self, passages: Sequence[str], query: str, answer: str | None = None, code: str = ENGLISH) -> str:
        """The text that the model sees, with the answer or up to where it begins; `code`: ISO 639-1, its language."""
        prompt = self._raw([self.defuse(passage) for passage in passages], self.defuse(query.strip()), code)
        return prompt if answer is None else prompt + self._completion(answer)

    def encode(self, passages: Sequence[str], query: str, answer: str | None = None) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the completion or none; the model sees one after the other."""
        prompt = self.encode_prompts([(passages, query)])
        completion = self.encode_completions([] if answer is None else [answer])
        return prompt.values.tolist(), completion.values.tolist()

    def encode_prompts(self, rows: Sequence[Asked]) -> Tokens:
        """Token ids of the prompts of many (passages, query) or (passages, query, language)."""
        texts = [self.render(row[0], row[1], None, *row[2:]) for row in rows]
        tokens = self._tokens(texts)
        self._check(texts, tokens, [self._expected(len(row[0])) for row in rows])
        return tokens

    def encode_completions(self, answers: Sequence[str]) -> Tokens:
        """Token ids of many answers, with what the template puts around them, as they follow a prompt.

        They are tokenised behind the end of the prompt, because some tokenizers (Llama 2, Mistral) put a space before
        whatever comes first; the ids of that end are taken off again.
        """
        texts = [self._completion(answer) for answer in answers]
        tokens = self._tokens([self._anchor + text for text in texts]).behind(self._anchor_ids)
        if tokens is None:  # at least one of them has grown together with that end
            tokens = Tokens.concatenated(list(map(self._behind_prompt, texts)))
        self._check(texts, tokens, [self._expected(None)] * len(texts))
        return tokens

    def decode(self, ids: list[int]) -> str:
        """The text of a generated answer, stripped, without special tokens."""
        text: str = self._backend.decode(ids, skip_special_tokens=True)
        return text.strip()

    def length(self, text: str) -> int:
        """Tokens of a piece of text by itself."""
        return self._tokens([self.defuse(text)]).values.size

    def _completion(self, answer: str) -> str:
        return self._before + self.defuse(answer.strip()) + self._after

    def _behind_prompt(self, text: str) -> Tokens:
        return self._tokens([self._anchor + text]).behind(self._anchor_ids) or self._tokens([text])

    def _told_in(self, code: str) -> dict[str, str]:
        """What the template may tell the model in a language."""
        told = {"instruction": instruction(code), "refusal": refusal_sentence(code, self._made_from[2])}
        return {name: self.defuse(text) for name, text in told.items()}

    def _raw(self, passages: Sequence[str], query: str, code: str = ENGLISH, **answer: str) -> str:
        import jinja2

        try:
            text: str = self._template.render(passages=passages, query=query, **self._told(code), **answer)
            return text
        except jinja2.UndefinedError as error:
            raise UserError(f"{self._name}: {error}", f"a template has the variables {VARIABLES}") from error
        except jinja2.TemplateError as error:
            raise UserError(f"{self._name}: {error}", "mend the template") from error

    def _shape(self) -> tuple[str, str, str]:
        """What stands before and after every answer, and the end that every prompt has.

        Found on two unlike rows, so that later rows cost one rendering without the answer.
        """
        prompts, around = [], []
        for passages, query, answer in ((["Ivory.", "Oak 1"], "Elm?", "Ash"), (["<Fir>"], "a b", "Yew, 2.")):
            prompt = self._raw(passages, query)
            whole = self._raw(passages, query, answer=answer)
            left_out = [text for text in [*passages, query] if text not in prompt]
            if left_out:
                raise UserError(f"{self._name} leaves out a passage or the query", "render all passages and the query")
            before, found, after = whole[len(prompt) :].partition(answer)
            if not whole.startswith(prompt) or not found or answer in after:
                raise UserError(
                    f"{self._name}: the text without the answer is not the beginning of the text with it",
                    "write {% if answer is defined %}{{ answer }}…{% endif %} once, at the end",
                )
            prompts.append(prompt)
            around.append((before, after))
        if around[0] != around[1]:
            raise UserError(
                f"{self._name}: what surrounds the answer depends on the row", "write the same around every answer"
            )
        end = os.path.commonprefix([prompt[::-1] for prompt in prompts])[::-1]
        return *around[0], end

    def _stop_ids(self, end: int | None) -> tuple[int, ...]:
        """Tokens that end an answer: the template's, and the tokenizer's end of text."""
        ends, _ = self._expected(None)
        if not ends:
            raise UserError(
                f"{self._name} ends the answer with {self._after!r}, and none of it is a special token of this base "
                "model: it would never learn to stop",
                "set prompt.template to the one of the base model's family",
            )
        return tuple(sorted({*ends, *([] if end is None else [end])}))

    def _expected_of(self, passages: int | None) -> tuple[list[int], int]:
        """The special ids, and the number of plain markers, that the template itself contributes.

        To a prompt of so many passages; to a completion where that is None.
        """
        text = self._completion("a") if passages is None else self._raw(["a"] * passages, "a")
        ids = self._tokens([text]).values
        return ids[self._is_control[ids]].tolist(), self._markers(text)

    def _markers(self, text: str) -> int:
        return sum(map(text.count, self._plain))

    def _check(self, texts: Sequence[str], tokens: Tokens, expected: list[tuple[list[int], int]]) -> None:
        """Raise unless the texts hold the template's own special tokens and markers, in order, and no other."""
        import numpy as np

        mask = self._is_control[tokens.values]
        counts = np.diff(np.searchsorted(np.flatnonzero(mask), tokens.offsets))
        agree = np.array_equal(counts, [len(ids) for ids, _ in expected]) and np.array_equal(
            tokens.values[mask], [id_ for ids, _ in expected for id_ in ids]
        )
        if agree and all(self._markers(text) == markers for text, (_, markers) in zip(texts, expected, strict=True)):
            return
        for text, row, (ids, markers) in zip(texts, tokens, expected, strict=True):
            if row[self._is_control[row]].tolist() != ids or self._markers(text) != markers:
                raise UserError(
                    f"a control token of the model comes out of this text: {text[:300]!r}",
                    "take control strings such as <s> or [INST] out of the row, in whatever spelling they have there",
                )


@lru_cache(maxsize=2)
def _prompt(
    template: str,
    written: str,
    controls: tuple[tuple[str, int], ...],
    size: int,
    end: int | None,
    refusal: str | None,
    name: str,
) -> Prompt:
    from tokenizers import Tokenizer

    return Prompt(template, Vocabulary(Tokenizer.from_str(written), dict(controls), size, end), refusal, name=name)


def _compile(template: str, name: str) -> Any:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # the settings that transformers renders chat templates with
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{name}:{error.lineno}: {error.message}", "mend the template") from error


def _table(ids: Any, size: int) -> Any:
    """bool[size], true at `ids`."""
    import numpy as np

    table = np.zeros(size, bool)
    table[list(ids)] = True
    return table
