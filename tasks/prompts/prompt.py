"""The prompt of a base model, rendered and tokenised the same way for training, evaluation and serving."""

import os
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tasks.engine.errors import UserError
from tasks.prompts.chat import SWITCHES, Around, Chat, Message, marks_of, served
from tasks.prompts.config import Asked, PromptConfig
from tasks.prompts.pieces import Pieces, Tokens
from tasks.prompts.turns import Turns
from tasks.prompts.vocabulary import MARKER, Defuser, Vocabulary
from tasks.text.language import ENGLISH, language_digests
from tasks.text.thoughts import MARKS, split_thought

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

# Questions that share nothing, in the shapes that templates look for in a text, to find what is the same around them.
PROBES = (
    (Asked(["Ivory.", "Oak 1"], "Elm?"), "Ash"),
    (Asked(["Fir"], "/think a b"), "Yew, 2."),
    (Asked(["- {x}\n\n- [y] (z)"], '"1", no_think'), "(c) Ébène\nd"),
)
SYSTEM, TURNS = "Teak 7", (("user", "Larch 8"), ("assistant", "Birch 9"))


class Prompt:
    """Turns of a chat made from rows, rendered by a chat template and tokenised.

    `config` says what the system and the user say; the template is the base model's own, or `template`. A `refusal`
    that is given replaces the languages' own. A row without its answer is rendered as the prompt; what the row with its
    answer has behind that is the completion.

    Text never becomes structure: control strings inside passages, query, earlier turns and answer are defused before
    rendering, and the special tokens of the result must be exactly the template's own.

    Raises UserError if there is no template, or it does not compile; if a turn names an unknown variable or leaves out
    a passage or the query; if the prompt is not the beginning of the prompt with its answer; and if a text has a token
    beyond the model's embeddings.
    """

    def __init__(
        self,
        config: PromptConfig,
        vocabulary: "Vocabulary | PreTrainedTokenizerBase",
        refusal: str | None = None,
        *,
        template: str | None = None,
        name: str = "the base model's chat template",
    ) -> None:
        vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary.of(vocabulary)
        self._made_from = (config, vocabulary, refusal, template, name)
        self.config, self._vocabulary, self._refusal, self._name = config, vocabulary, refusal, name
        published = template or vocabulary.template
        if published is None:
            raise UserError(
                "this base model has no chat template",
                "name an instruct model, or set prompt.template to `plain` or to a chat template of your own (.jinja)",
            )
        self._backend = vocabulary.backend
        self._backend.no_truncation()
        self._backend.no_padding()
        self._tokens = Pieces(self._backend).tokens
        self._is_control = _table(vocabulary.controls.values(), size=vocabulary.size)
        self._read(published)
        self._pieces: dict[str, tuple[str, str] | None] = {}
        self._expected = lru_cache(maxsize=None)(self._expected_of)
        self._shape()
        self.stop_ids = self._stop_ids()

    def _read(self, published: str) -> None:
        """Find out what the template can do, and put around it what it cannot."""
        Chat(published, self._vocabulary.tokens, self._name)  # an error names its own line
        around = Around({**SWITCHES[self.config.thinking], **self.config.arguments}, self.config.today)
        self.marks = marks_of(published, self._vocabulary.controls)
        self.wants_parts = not self._tells(published, around, [{"role": "user", "content": SYSTEM}])
        around = around._replace(parts=self.wants_parts)
        told: list[Message] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Elm?"}]
        self.folds_system = not self._tells(published, around, told)
        around = around._replace(folds=self.folds_system)
        chat, row = self._chat_of(published, around), Asked(["a"], "a")
        controls = self._vocabulary.controls
        plain = Turns(self.config, self._refusal)
        said = plain.user(row) + plain.system(row)
        shown = chat(told, ask=True) + chat([*told, {"role": "assistant", "content": "a"}], ask=False)
        markers = set(MARKER.findall(shown)) - controls.keys()  # such as [INST] in a tokenizer without this token
        own = [*controls, *markers, *(self.marks or ())]
        tags = set(MARKER.findall(said)) - set(own)  # such as <context> in prompt.user
        self._markers_of = sorted(markers | tags)
        self.turns = Turns(self.config, self._refusal, defuse=Defuser([*own, *tags]), structure=Defuser(own))
        around = around._replace(controls=own, system=self._default_system())
        self._chat = self._chat_of(published, around)
        self.closes_thought = self.config.thinking == "off" and self._is_open(self._chat(told, ask=True))
        if self.closes_thought:
            self._chat = self._chat_of(published, around._replace(suffix=self._closing()))

    def _tells(self, published: str, around: Around, turns: list[Message]) -> bool:
        """Whether the template shows what the first of the turns says."""
        try:
            return turns[0]["content"] in self._chat_of(published, around)(turns, ask=True)
        except UserError:
            return False

    def _chat_of(self, published: str, around: Around) -> Chat:
        self.chat_template = served(published, around)  # which makes of the messages of a row its prompt
        return Chat(self.chat_template, self._vocabulary.tokens, self._name)

    def _is_open(self, prompt: str) -> bool:
        """Whether a prompt has begun a thought."""
        return self.marks is not None and prompt.rstrip().endswith(self.marks.opening)

    def _closing(self) -> str:
        """What ends an empty thought that the prompt has begun."""
        assert self.marks
        return f"\n{self.marks.closing}\n\n"

    def __reduce__(self) -> tuple[Any, ...]:
        """A compiled template cannot be pickled. What can is hashable, so that a worker makes one prompt of it once."""
        config, vocabulary, refusal, template, name = self._made_from
        rest = orjson.dumps(vocabulary.plain)
        return _prompt, (config.model_dump_json(), self._written, rest, refusal, template, name)

    @cached_property
    def _written(self) -> str:
        """The tokenizer as JSON: 11 MB for one of 150,000 words."""
        text: str = self._backend.to_str()
        return text

    @cached_property
    def digest(self) -> str:
        """Identifies what determines the tokens: what is said, template, tokenizer and refusal sentence, not paths."""
        config, vocabulary, refusal, _, _ = self._made_from
        shaping = (
            config.model_dump_json(),
            self.chat_template,
            repr((refusal, language_digests(), vocabulary.end)),
            self._written,
            repr(sorted(vocabulary.controls.items())),
        )
        return sha256("\0".join(shaping).encode()).hexdigest()

    @classmethod
    def load(
        cls,
        config: PromptConfig,
        vocabulary: "Vocabulary | PreTrainedTokenizerBase",
        refusal: str | None = None,
        template: Path | None = None,
    ) -> "Prompt":
        """The prompt, with the chat template of a file where one is named."""
        if template is None:
            return cls(config, vocabulary, refusal)
        try:
            text = template.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{template} cannot be read: {error}", "name a template file in UTF-8") from error
        return cls(config, vocabulary, refusal, template=text, name=str(template))

    @property
    def notes(self) -> dict[str, bool]:
        """What is done because the chat template does not do it."""
        return {
            "folds_system": self.folds_system and bool(self.config.system.strip()),
            "closes_thought": self.closes_thought,
            "adds_end": self.adds_end,
        }

    def render(self, asked: Asked, answer: str | None = None, thought: str = "") -> str:
        """The text that the model sees, with the answer or up to where it begins."""
        prompt = self._prompts([asked])[0]
        return prompt if answer is None else prompt + self._completion(answer, thought)

    def encode(self, asked: Asked, answer: str | None = None, thought: str = "") -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the completion or none; the model sees one after the other."""
        prompt = self.encode_prompts([asked])
        completion = self.encode_completions([] if answer is None else [(answer, thought)])
        return prompt.values.tolist(), completion.values.tolist()

    def encode_prompts(self, rows: Sequence[Asked]) -> Tokens:
        """Token ids of the prompts of many questions."""
        texts = self._prompts(rows)
        tokens = self._tokens(texts)
        roles = [tuple(role for role, _ in self.turns.before_question(row)) for row in rows]
        shapes = [(len(row.passages), row.language, before) for row, before in zip(rows, roles, strict=True)]
        self._check(texts, tokens, [self._expected(*shape) for shape in shapes])
        return tokens

    def earlier_answers(self, asked: Asked, ids: "np.ndarray") -> list[tuple[int, int]]:
        """Where the answers of the turns before stand in the token ids of this prompt, with what ends them.

        Raises UserError for a template that shows an earlier answer otherwise than it showed it when it was the last.
        """
        import numpy as np

        turns, documents, spans = self.turns.messages(asked), self.turns.documents(asked), []
        for at, turn in enumerate(turns[:-1]):
            if turn["role"] != "assistant":
                continue
            texts = [self._chat(turns[:at], ask=True, documents=documents)]
            texts.append(self._chat(turns[: at + 1], ask=False, documents=documents))
            before, behind = self._tokens(texts)
            if not all(np.array_equal(each, ids[: len(each)]) for each in (before, behind)):
                raise UserError(
                    f"{self._name} shows an earlier answer otherwise than the last one: {turn['content'][:60]!r}",
                    "set train.loss_on: answer",
                )
            spans.append((len(before), len(behind)))
        return spans

    def encode_completions(self, answers: Sequence[tuple[str, str]]) -> Tokens:
        """Token ids of many (answer, thought), with what the template puts around them, as they follow a prompt.

        They are tokenised behind the end of the prompt, because some tokenizers (Llama 2, Mistral) put a space before
        whatever comes first; the ids of that end are taken off again.
        """
        texts = [self._completion(*answer) for answer in answers]
        tokens = self._tokens([self._anchor + text for text in texts]).behind(self._anchor_ids)
        if tokens is None:  # at least one of them has grown together with that end
            tokens = Tokens.concatenated(list(map(self._behind_prompt, texts)))
        keeps = self.config.thinking == "keep"
        self._check(texts, tokens, [self._expected(None, thought=keeps and bool(thought)) for _, thought in answers])
        return tokens

    def decode(self, ids: list[int]) -> tuple[str, str]:
        """Thought and answer that were generated, stripped, without special tokens."""
        if self.marks:
            whole = self.marks.opening * self.begins_thought + self._backend.decode(ids, skip_special_tokens=False)
            if self.marks.closing in whole or whole.lstrip().startswith(self.marks.opening):
                thought, answer = map(self._up_to_control, split_thought(whole))
                return thought, answer
        text: str = self._backend.decode(ids, skip_special_tokens=True)
        return "", split_thought(text)[1]

    def _up_to_control(self, text: str) -> str:
        for control in self._vocabulary.controls:
            text = text.partition(control)[0]
        return text.strip()

    @cached_property
    def thought_ids(self) -> tuple[list[int], list[int]]:
        """Token ids of the marks that open and close a thought."""
        opening, closing = (self._tokens([mark]).values.tolist() for mark in self.marks or MARKS[0])
        return opening, closing

    def length(self, text: str) -> int:
        """Tokens of a piece of text by itself."""
        return self._tokens([self.turns.defuse(text)]).values.size

    def _default_system(self) -> str | None:
        """The system turn of a chat that has none; None where it depends on the row."""
        said = {self.turns.system(asked) for asked, _ in PROBES}
        return said.pop() if len(said) == 1 else None

    # What is rendered

    def _prompts(self, rows: Sequence[Asked]) -> list[str]:
        """The prompts, spliced where that is the same: a template takes 20 to 200 µs, and most of a prompt is constant.

        What surrounds the user's turn is found on unlike questions; the last row of a batch is rendered whole beside.
        """
        spliced = [self._spliced(row) for row in rows]
        if rows and spliced[-1] not in (None, self._rendered(rows[-1])):
            spliced = [None] * len(rows)
        return [self._rendered(row) if text is None else text for row, text in zip(rows, spliced, strict=True)]

    def _spliced(self, asked: Asked) -> str | None:
        if asked.history or asked.examples or self.config.documents:
            return None
        system = self.turns.system(asked)
        if system not in self._pieces:
            self._pieces[system] = self._around_user(system)
        around = self._pieces[system]
        return around and around[0] + self.turns.user(asked) + around[1]

    def _around_user(self, system: str) -> tuple[str, str] | None:
        """What stands before and behind the user's turn; None if that depends on what it says."""
        told: list[Message] = [{"role": "system", "content": system}] if system else []
        found = set()
        for asked, _ in PROBES:
            user = self.turns.user(asked)
            before, held, after = self._chat([*told, {"role": "user", "content": user}], ask=True).partition(user)
            found.add((before, after) if held else None)
        return found.pop() if len(found) == 1 else None

    def _rendered(self, asked: Asked, answer: str | None = None, thought: str = "") -> str:
        turns = self.turns.messages(asked, answer, thought)
        return self._chat(turns, ask=answer is None, documents=self.turns.documents(asked))

    def _completion(self, answer: str, thought: str = "") -> str:
        before = self._before
        if thought and self.config.thinking == "keep":
            before = self._thought[0] + self.turns.defuse(thought.strip()) + self._thought[1]
        return before + self.turns.defuse(answer.strip()) + self._after

    def _behind_prompt(self, text: str) -> Tokens:
        return self._tokens([self._anchor + text]).behind(self._anchor_ids) or self._tokens([text])

    def _shape(self) -> None:
        """What stands before and after every answer and thought, and the end that every prompt has.

        Found on unlike rows, so that later rows cost one rendering without the answer.
        """
        prompts, around = [], []
        for asked, answer in (*PROBES, (PROBES[0][0]._replace(history=TURNS), "Ash")):
            prompt, whole = self._rendered(asked), self._rendered(asked, answer)
            left_out = [text for text in [*asked.passages, asked.query] if text not in prompt]
            if left_out:
                raise UserError(
                    f"the prompt leaves out {left_out[0]!r}, a passage or the query",
                    "have prompt.user show {{ context }} and {{ query }}; for prompt.documents the chat template must "
                    "take them",
                )
            prompts.append(prompt)
            around.append(self._around_answer(prompt, whole, answer))
        if len(set(around)) > 1:
            raise UserError(
                f"{self._name}: what surrounds the answer depends on the row: {sorted(set(around))}",
                "set prompt.template to a chat template (.jinja) that writes the same around every answer",
            )
        self._before, self._after = around[0]
        self.begins_thought = self._is_open(prompts[0])
        closed = self.marks is not None and prompts[0].rstrip().endswith(self.marks.closing)
        self.may_think = self.marks is not None and not closed
        self._thought = self._around_thought(prompts[0])
        self.adds_end = not self._controls_in(self._after)
        if self.adds_end:
            self._after += self._end(*PROBES[0])
        self._anchor = os.path.commonprefix([prompt[::-1] for prompt in prompts])[::-1]
        self._anchor_ids = self._tokens([self._anchor]).values

    def _around_answer(self, prompt: str, whole: str, answer: str) -> tuple[str, str]:
        """What stands between prompt and answer, and behind it.

        A template that begins a thought in the prompt may leave it out before an answer that is there: then the answer
        follows the end of an empty one.
        """
        if whole.startswith(prompt):
            before, found, after = whole[len(prompt) :].partition(answer)
        else:
            marks = self.marks or MARKS[0]
            thought = re.escape(marks.opening) + r"\s*(" + re.escape(marks.closing) + r"\s*)?\Z"
            stem = re.split(thought, prompt)[0]
            rest, found, after = whole.removeprefix(stem).partition(answer)
            before = self._closing() if self._is_open(prompt) else ""
            if (
                stem == prompt
                or not whole.startswith(stem)
                or "".join(rest.split()) not in ("", marks.closing, "".join(marks))
            ):
                found = ""
        if not found or answer in after:
            raise UserError(
                f"{self._name} renders a prompt that is not the beginning of the prompt with its answer: "
                f"{prompt[-60:]!r}, and then {whole[len(os.path.commonprefix([prompt, whole])) :][:60]!r}",
                "set prompt.template to a chat template (.jinja) that adds nothing to a prompt but the answer",
            )
        return before, after

    def _around_thought(self, prompt: str) -> tuple[str, str]:
        """What stands before and behind a thought: as the template has it, else between its marks."""
        asked, answer = PROBES[0]
        whole = self._rendered(asked, answer, SYSTEM) if self.config.thinking == "keep" else ""
        before, found, rest = whole.removeprefix(prompt).partition(SYSTEM)
        between, held, _ = rest.partition(answer)
        if whole.startswith(prompt) and found and held:
            return before, between
        marks = self.marks or MARKS[0]
        return ("" if self.begins_thought else f"{marks.opening}\n"), f"\n{marks.closing}\n\n"

    def _end(self, asked: Asked, answer: str) -> str:
        """The token that ends an answer whose template has none: what stands before a further turn, else the end."""
        turns = [*self.turns.messages(asked, answer), {"role": "user", "content": SYSTEM}]
        behind = self._chat(turns, ask=True).rpartition(answer)[2]
        ids = self._tokens([behind]).values
        if behind and self._is_control[ids[0]]:
            return str(self._backend.id_to_token(int(ids[0])))
        if self._vocabulary.end is None:
            raise UserError(
                f"{self._name} ends the answer with {self._after!r}, and none of it is a special token of this base "
                "model: it would never learn to stop",
                "set prompt.template to a chat template (.jinja) that ends an answer with such a token",
            )
        return str(self._backend.id_to_token(self._vocabulary.end))

    def _stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: the template's, and the tokenizer's end of text."""
        end = self._vocabulary.end
        return tuple(sorted({*self._controls_in(self._after), *([] if end is None else [end])}))

    # What is checked

    def _controls_in(self, text: str) -> list[int]:
        ids = self._tokens([text]).values
        found: list[int] = ids[self._is_control[ids]].tolist()
        return found

    def _expected_of(
        self, passages: int | None, code: str = ENGLISH, roles: Sequence[str] = (), *, thought: bool = False
    ) -> tuple[list[int], int]:
        """The special ids, and the number of plain markers, that the template itself contributes.

        To a prompt of so many passages and such earlier turns; to a completion where `passages` is None.
        """
        if passages is None:
            text = self._completion("a", "a" * thought)
        else:
            text = self._rendered(Asked(["a"] * passages, "a", code, examples=[(role, "a") for role in roles]))
        return self._controls_in(text), self._markers(text)

    def _markers(self, text: str) -> int:
        return sum(map(text.count, self._markers_of))

    def _check(self, texts: Sequence[str], tokens: Tokens, expected: list[tuple[list[int], int]]) -> None:
        """Raise unless the texts hold the template's own special tokens and markers, in order, and no other."""
        import numpy as np

        beyond = self._vocabulary.embeddings
        if beyond and tokens.values.size and (highest := int(tokens.values.max())) >= beyond:
            raise UserError(
                f"the tokenizer has {self._backend.id_to_token(highest)!r} as token {highest:,}, and the base model "
                f"embeddings of {beyond:,} tokens",
                "use the tokenizer that belongs to this model, or a model whose embeddings were resized to it",
            )
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
def _prompt(config: str, written: str, rest: bytes, refusal: str | None, template: str | None, name: str) -> Prompt:
    from tokenizers import Tokenizer

    vocabulary = Vocabulary(**orjson.loads(rest) | {"backend": Tokenizer.from_str(written)})
    return Prompt(PromptConfig.model_validate_json(config), vocabulary, refusal, template=template, name=name)


def _table(ids: Any, size: int) -> Any:
    """bool[size], true at `ids`."""
    import numpy as np

    table = np.zeros(size, bool)
    table[list(ids)] = True
    return table
