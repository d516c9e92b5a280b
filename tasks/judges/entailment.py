"""Entailment: does the context entail each sentence, by an NLI model or one that scores consistency (HHEM)?"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.engine import Text
from tasks.engine.errors import UserError
from tasks.judges.cases import Case, Judgement, JudgeResult, Memory
from tasks.judges.local import Loaded, LocalModelConfig, by_length, load, recipe
from tasks.models.model import inference

Entails = Callable[[Sequence[tuple[str, str]]], list[float | None]]  # of each (context, sentence)
ENTAILS = ("entailment", "entailed", "entails", "supported", "consistent", "factual", "faithful")


class EntailmentConfig(LocalModelConfig):
    """Faithfulness by a sequence-classification model: premise a part of the context, hypothesis a sentence."""

    label: Text | None = Field(
        None, description="The label that means 'entailed', by name or number; without it the one so named."
    )
    answer: Literal["min", "mean"] = Field(
        "min", description="What an answer scores: its worst sentence's score, or the mean of all."
    )
    overlap: int = Field(64, ge=0, description="Tokens that a part of the context shares with the one before it.")


class Entailment:
    """How surely a context entails a sentence: a probability, the greatest over the parts of the context."""

    def __init__(self, folder: Path, config: EntailmentConfig) -> None:
        self._config = config
        self._loaded: Loaded = load(folder, config, kind="AutoModelForSequenceClassification")
        self._label = label_of(self._loaded.model.config, config, folder)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Of each (context, sentence) the probability; None for a sentence that fills half the window by itself."""
        tokenizer, _, window = self._loaded
        alone = tokenizer([sentence for _, sentence in pairs], add_special_tokens=False)["input_ids"] if pairs else []
        fitting = [at for at, ids in enumerate(alone) if len(ids) <= window // 2]
        best: dict[int, float] = defaultdict(float)
        if fitting:
            parts = tokenizer(
                [pairs[at][0] for at in fitting],
                [pairs[at][1] for at in fitting],
                truncation="only_first",
                max_length=window,
                stride=min(self._config.overlap, window // 4),
                return_overflowing_tokens=True,
            )
            of = [fitting[sample] for sample in parts.pop("overflow_to_sample_mapping")]
            for pair, probability in zip(of, self._probabilities(parts), strict=True):
                best[pair] = max(best[pair], probability)
        return [best.get(at) for at in range(len(pairs))]

    def _probabilities(self, parts: Any) -> list[float]:
        tokenizer, model, _ = self._loaded
        found = [0.0] * len(parts["input_ids"])
        for batch in by_length(list(map(len, parts["input_ids"])), self._config.batch_size):
            given = {name: [column[at] for at in batch] for name, column in parts.items()}
            padded = tokenizer.pad(given, return_tensors="pt").to(model.device)
            with inference(model):
                logits = model(**padded).logits.float()
            shares = logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(1)[:, self._label]
            for at, share in zip(batch, shares.tolist(), strict=True):
                found[at] = share
        return found


def by_entailment(config: EntailmentConfig, folder: Path, cases: Sequence[Case], memory: Memory) -> JudgeResult:
    """Faithfulness of each case; the model is loaded if there is something new to judge."""
    entails = cache(partial(Entailment, folder, config))
    said = memory.judged(
        "entailment",
        recipe(faithfulness, folder, config),
        cases,
        lambda new: faithfulness(entails(), config.answer, new),
    )
    return JudgeResult("entailment", {"label": "Faithfulness (entailment)", "model": folder.name, "prompt": None}, said)


def label_of(model: Any, config: EntailmentConfig, folder: Path) -> int:
    """The index of the label that means 'entailed'; 0 for a model with a single score. UserError if none is known."""
    if model.num_labels == 1:
        return 0
    labels = {int(number): str(name) for number, name in model.id2label.items()}
    if config.label is None:
        found = [number for number, name in labels.items() if name.lower() in ENTAILS]
    else:
        found = [number for number, name in labels.items() if config.label.lower() in (name.lower(), str(number))]
    if len(found) != 1:
        known = ", ".join(f"{number} {name}" for number, name in sorted(labels.items()))
        raise UserError(
            f"{folder}: which of its labels means 'entailed'? They are {known}",
            "set judge.entailment.label to the name or the number; the model's card tells",
        )
    return found[0]


def faithfulness(entails: Entails, answer: str, cases: Sequence[Case]) -> list[Judgement]:
    """Entailment of the answer's sentences by the context, 0 to 1, up: the least or the mean of them (`answer`).

    None if the answer declines or claims nothing. Sees negation and a number swapped for another one of the same
    context, as far as the model does; a claim that takes two distant passages together is not seen as entailed.
    """
    claimed = {at: case.claims for at, case in enumerate(cases) if case.claims and not case.refused}
    pairs = [("\n".join(cases[at].context), sentence) for at, claims in claimed.items() for sentence in claims]
    said = iter(entails(pairs))
    judgements = []
    for at, case in enumerate(cases):
        if at not in claimed:
            judgements.append(Judgement(None, "refusal" if case.refused else "no claim"))
            continue
        scores = [next(said) for _ in claimed[at]]
        whole = [score for score in scores if score is not None]
        if len(whole) < len(scores):
            judgements.append(Judgement(None, "too long"))
        else:
            judgements.append(Judgement(round(min(whole) if answer == "min" else sum(whole) / len(whole), 6)))
    return judgements
