"""Sentence embeddings: does the answer speak of what was asked, and does it say what the reference says?"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tasks.engine.errors import UserError
from tasks.judges.cases import Case, Judgement, JudgeResult, Memory
from tasks.judges.local import Loaded, LocalModelConfig, by_length, load, recipe
from tasks.models.model import inference

if TYPE_CHECKING:
    from tasks.evaluation.statistics import Floats

MOST = 50_000  # vectors that are kept: 150 MB of MiniLM's
KNOWN = ("Transformer", "Pooling", "Normalize")  # modules of sentence-transformers that are done here
POOLINGS = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}  # as older and newer ones name it


Measure = Callable[["Embedder", Sequence[Case]], list[Judgement]]


class EmbeddingConfig(LocalModelConfig):
    """Cosines of sentence embeddings, by any encoder that pools by the mean or by its first token."""


class Embedder:
    """Texts as unit vectors, as sentence-transformers makes them: the last layer, pooled over the attention mask."""

    def __init__(self, folder: Path, config: EmbeddingConfig) -> None:
        self._pooling = _pooling(folder)
        self._batch_size = config.batch_size
        self._known: dict[str, Floats] = {}  # a text is often answer, reference and the other system's answer at once
        self._loaded: Loaded = load(folder, config, kind="AutoModel", unused=("pooler.",))

    def __call__(self, texts: Sequence[str]) -> "Floats":
        """Embed texts, each cut to the model's window: (texts, dimensions), every row of length 1."""
        import numpy as np
        import torch

        tokenizer, model, window = self._loaded
        encoded = tokenizer(list(texts), truncation=True, max_length=window)["input_ids"]
        vectors = np.zeros((len(texts), model.config.hidden_size))
        for batch in by_length(list(map(len, encoded)), self._batch_size):
            given = tokenizer.pad({"input_ids": [encoded[at] for at in batch]}, return_tensors="pt").to(model.device)
            with inference(model):
                hidden = model(**given).last_hidden_state
            if self._pooling == "cls":
                pooled = hidden[:, 0]
            else:
                mask = given["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            vectors[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors

    def of(self, texts: Sequence[str]) -> Callable[[str], "Floats"]:
        """Embed what is new among these texts; what is returned gives a text's vector."""
        if len(self._known) > MOST:
            self._known.clear()
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= zip(new, self(new), strict=True)
        return self._known.__getitem__


def by_embedding(
    config: EmbeddingConfig, folder: Path, embed: Callable[[], Embedder], cases: Sequence[Case], memory: Memory
) -> list[JudgeResult]:
    """Relevance and similarity of each case; `embed` loads the model, if there is something new to judge."""
    return [
        JudgeResult(
            judge,
            {"label": label, "model": folder.name, "prompt": None},
            memory.judged(judge, recipe(measure, folder, config), cases, partial(_new, measure, embed)),
        )
        for judge, (label, measure) in MEASURES.items()
    ]


def _new(measure: Measure, embed: Callable[[], Embedder], cases: Sequence[Case]) -> list[Judgement]:
    return measure(embed(), cases)


def relevance(embed: Embedder, cases: Sequence[Case]) -> list[Judgement]:
    """Cosine of the question and the answer's nearest sentence, -1 to 1, up; None if the answer declines.

    The maximum, so that a sentence of detail behind the answer costs nothing. Blind to a wrong value: "40 bar" is as
    near to the question as "16 bar". Echoing the question wins.
    """
    said = {at: case.sentences for at, case in enumerate(cases) if not case.refused}
    vector = embed.of([text for at, each in said.items() for text in (cases[at].question, *each)])
    judgements = []
    for at, case in enumerate(cases):
        if case.refused or not said[at]:
            judgements.append(Judgement(None, "refusal" if case.refused else "no claim"))
        else:
            asked = vector(case.question)
            judgements.append(Judgement(max(_cosine(asked, vector(each)) for each in said[at])))
    return judgements


def similarity(embed: Embedder, cases: Sequence[Case]) -> list[Judgement]:
    """Cosine of the answer and the reference, -1 to 1, up; None if the answer declines or there is no reference.

    Knows a paraphrase, and hardly tells one number from another.
    """
    judged = [case for case in cases if not _unlike(case)]
    vector = embed.of([text for case in judged for text in (case.answer, case.reference or "")])
    return [_unlike(case) or Judgement(_cosine(vector(case.answer), vector(case.reference or ""))) for case in cases]


def _unlike(case: Case) -> Judgement | None:
    """Why an answer is not compared with a reference, if it is not."""
    if case.reference is None:
        return Judgement(None, "no reference")
    if case.refused:
        return Judgement(None, "refusal")
    return None if case.answer.strip() else Judgement(None, "no claim")


def _cosine(one: "Floats", other: "Floats") -> float:
    return round(float(one @ other), 6)


def _pooling(folder: Path) -> str:
    """'mean' or 'cls', as the model's files say; a mere encoder is pooled by the mean."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean"
    places = {each["type"].rpartition(".")[2]: each["path"] for each in orjson.loads(modules.read_bytes())}
    if unknown := [kind for kind in places if kind not in KNOWN]:
        raise UserError(
            f"{modules}: the model has a {unknown[0]} layer, which is not done here",
            f"name a model that is made of {', '.join(KNOWN)} alone",
        )
    if "Pooling" not in places:
        return "mean"
    pooling = orjson.loads((folder / places["Pooling"] / "config.json").read_bytes())
    if "pooling_mode" in pooling:
        modes = [pooling["pooling_mode"]]
    else:  # as older versions write it
        flags = [name.removeprefix("pooling_mode_") for name, on in pooling.items() if on is True]
        modes = [name for name in flags if name.endswith(("_token", "_tokens"))]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UserError(
            f"{folder}: the model is pooled by {' and '.join(modes) or 'nothing'}",
            "name a model that is pooled by the mean or by its first token",
        )
    return POOLINGS[modes[0]]


MEASURES: dict[str, tuple[str, Measure]] = {
    "embedding_relevance": ("Relevance (embeddings)", relevance),
    "embedding_similarity": ("Like the reference (embeddings)", similarity),
}
