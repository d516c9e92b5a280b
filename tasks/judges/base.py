"""The base model as judge: does the context support each sentence? It needs no download and no key.

Two signals of a sentence: how likely the base says yes rather than no when it is asked whether the passages support the
sentence, and how much likelier the sentence is behind the passages than without them. Both come from the frozen base
that answers anyway, without sampling. What they are worth depends on the base, so that they are measured first on
answers whose support is known (`agreement`): a weak base is at chance.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from tasks.engine import Config
from tasks.engine.code.cache import code_of
from tasks.engine.inputs import Local
from tasks.engine.key import identity, installed
from tasks.judges.cases import Case, JudgeResult, Memory
from tasks.judges.entailment import faithfulness
from tasks.judges.local import by_length
from tasks.models.model import ModelConfig, inference, load_frozen, load_tokenizer
from tasks.prompts.vocabulary import Defuser, control_tokens

if TYPE_CHECKING:
    from torch import Tensor

LIBRARIES = ("bitsandbytes", "pystemmer", "tokenizers", "torch", "transformers")
QUESTION = """Passages:
{context}

Statement: {sentence}

Do the passages support the whole statement? Answer with one word, yes or no."""
BEHIND = "Passages:\n{context}\n\nA true statement about the passages:"
ALONE = "A true statement:"
Pair = tuple[str, str]  # (context, sentence)


class BaseConfig(Config):
    """Support by the frozen base model, asked and measured by likelihood."""

    enabled: bool = Field(
        False,
        description="Have the base model say whether the context supports each sentence; for a base of 3B and up.",
    )
    batch_tokens: PositiveInt = Field(8_192, description="Tokens of a batch, padded to the longest.")
    model: ModelConfig = ModelConfig()


class Base:
    """The signals of (context, sentence) pairs, each from 0 to 1, up; None for a pair beyond the model's window."""

    def __init__(self, folder: Path, config: BaseConfig) -> None:
        self._tokenizer: Any = load_tokenizer(folder)
        self._model: Any = load_frozen(folder, config.model)
        self._batch_tokens = config.batch_tokens
        self._window = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        self._defuse = Defuser(control_tokens(self._tokenizer))
        self._yes, self._no = (self._first_tokens(word) for word in ("yes", "no"))

    def says_yes(self, pairs: Sequence[Pair]) -> list[float | None]:
        """The probability of yes against no as the first word of the reply."""
        asked = [
            self._asked(QUESTION.format(context=context, sentence=sentence)) for context, sentence in self._safe(pairs)
        ]
        return self._batched([(ids, 0) for ids in asked], self._odds)

    def gains(self, pairs: Sequence[Pair]) -> list[float | None]:
        """What the context adds to the log-likelihood of the sentence, per token; as a sigmoid, .5 is nothing."""
        safe = self._safe(pairs)
        said = [self._ids(" " + sentence) for _, sentence in safe]
        behind = [self._ids(BEHIND.format(context=context), begin=True) for context, _ in safe]
        alone = self._ids(ALONE, begin=True)
        with_context = self._batched([(b + s, len(s)) for b, s in zip(behind, said, strict=True)], self._likelihood)
        without = self._batched([(alone + s, len(s)) for s in said], self._likelihood)
        return [
            None if one is None or other is None else 1 / (1 + math.exp(other - one))
            for one, other in zip(with_context, without, strict=True)
        ]

    def _safe(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [(self._defuse(context), self._defuse(sentence)) for context, sentence in pairs]

    def _ids(self, text: str, *, begin: bool = False) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=begin)["input_ids"]
        return ids

    def _asked(self, question: str) -> list[int]:
        """The question as the user's turn of the base's own chat template; of a base without one, plain text."""
        if not self._tokenizer.chat_template:
            return self._ids(question + "\nAnswer:", begin=True)
        turn = [{"role": "user", "content": question}]
        text = self._tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        return self._ids(text)

    def _first_tokens(self, word: str) -> list[int]:
        """The tokens that a reply of this word may begin with, however it is written."""
        forms = (form + each for each in (word, word.capitalize(), word.upper()) for form in ("", " "))
        return sorted({self._ids(form)[0] for form in forms})

    def _batched(
        self, wanted: Sequence[tuple[list[int], int]], measure: "Callable[[Tensor, Tensor], Tensor]"
    ) -> list[float | None]:
        """`measure` of (logits, ids) of the last tokens of each sequence; those of like length go together.

        `wanted` has each sequence with the number of tokens that are scored; of 0 the token behind it is.
        """
        import torch

        found: list[float | None] = [None] * len(wanted)
        fitting = [at for at, (ids, _) in enumerate(wanted) if len(ids) <= self._window]
        longest = max((len(wanted[at][0]) for at in fitting), default=1)
        lengths = [len(wanted[at][0]) for at in fitting]
        for batch in by_length(lengths, max(1, self._batch_tokens // longest)):
            places = [fitting[at] for at in batch]
            width = max(len(wanted[at][0]) for at in places)
            most = max(wanted[at][1] for at in places) + 1
            ids = torch.full((len(places), width), self._tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, at in enumerate(places):
                sequence = torch.tensor(wanted[at][0])
                ids[row, width - len(sequence) :] = sequence
                mask[row, width - len(sequence) :] = 1
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            with inference(self._model):
                given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
                logits = self._model(
                    **{name: each.to(self._model.device) for name, each in given.items()}, logits_to_keep=most
                ).logits.float()
            for row, at in enumerate(places):
                count = wanted[at][1]
                found[at] = float(measure(logits[row, -(count + 1) :], ids[row, width - count :].to(logits.device)))
        return found

    def _odds(self, logits: "Tensor", _: "Tensor") -> "Tensor":
        last = logits[-1]
        return (last[self._yes].logsumexp(0) - last[self._no].logsumexp(0)).sigmoid()

    def _likelihood(self, logits: "Tensor", ids: "Tensor") -> "Tensor":
        """Mean log-likelihood of the tokens."""
        return logits[:-1].log_softmax(-1).gather(1, ids[:, None]).mean()


SIGNALS: dict[str, tuple[str, Callable[[Base], Callable[[Sequence[Pair]], list[float | None]]]]] = {
    "base_yes": ("Support (base model: says yes)", lambda base: base.says_yes),
    "base_gain": ("Support (base model: likelier with the context)", lambda base: base.gains),
}


def by_base(
    config: BaseConfig, folder: Path, base: Callable[[], Base], cases: Sequence[Case], memory: Memory
) -> list[JudgeResult]:
    """Each signal of each case, the least over its sentences; `base` loads the model if there is something new."""
    recipe = {
        "code": code_of(Base.__module__, Base.__name__),
        "config": identity(config),
        "model": Local(folder).digest,
        "libraries": installed(LIBRARIES),
    }

    def measured(signal: str, new: Sequence[Case]) -> Any:
        return faithfulness(SIGNALS[signal][1](base()), "min", new)

    return [
        JudgeResult(
            signal,
            {"label": label, "model": folder.name, "prompt": None},
            memory.judged(signal, recipe, cases, partial(measured, signal)),
        )
        for signal, (label, _) in SIGNALS.items()
    ]


def loader(folder: Path, config: BaseConfig) -> Callable[[], Base]:
    """The base, loaded when it is first needed."""
    return cache(partial(Base, folder, config))
