"""judge: what models think of the answers, beside the metrics. Optional; it reports, and never gates."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import orjson
from pydantic import Field

from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.engine.inputs import Local
from tasks.engine.key import identity
from tasks.judges.cases import JudgeResult, Memory, figures, read_cases, write_judgements
from tasks.judges.embedding import Embedder, EmbeddingConfig, by_embedding
from tasks.judges.endpoint import Completions
from tasks.judges.entailment import EntailmentConfig, by_entailment
from tasks.judges.llm import PROMPTS, LlmConfig, by_llm
from tasks.judges.local import LIBRARIES, folder_of
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES


class JudgeConfig(Config):
    """Which models judge the answers: none, unless one is named."""

    embedding: EmbeddingConfig = EmbeddingConfig()
    entailment: EntailmentConfig = EntailmentConfig()
    llm: LlmConfig = LlmConfig()
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the source documents.")
    seed: int = Field(0, description="Seed of the bootstrap.")

    @property
    def on(self) -> bool:
        """Whether any judge is named."""
        return any(each is not None for each in (self.embedding.model, self.entailment.model, self.llm.model))

    def models(self) -> dict[str, Local | None]:
        """The local models as inputs of the step, by its arguments' names. UserError for a folder that holds none."""
        return {
            "embedding_model": folder_of("judge.embedding.model", self.embedding),
            "entailment_model": folder_of("judge.entailment.model", self.entailment),
        }


@step(libraries=("numpy", "pyarrow", *TEXT_LIBRARIES, *LIBRARIES), resources=(PROMPTS, *LANGUAGE_FILES))
def judge(
    config: JudgeConfig,
    *,
    rows: Path,
    base_answers: Path,
    tuned_answers: Path,
    embedding_model: Path | None = None,
    entailment_model: Path | None = None,
    work: Path,
    earlier: Sequence[Path] = (),
    out: Path,
) -> dict[str, float]:
    """Have base's and tuned's answers to `rows` judged by the models that are given, and by `config.llm` if it is on.

    Judgements of the same judge, question, context and answer are taken over from `earlier` artifacts and from a killed
    run; no request is sent to a language model twice.

    Writes judgements.arrow: id, system (base or tuned), judge, score (null if there is none), reason (why there is
    none), digest; completions.arrow: what a language model replied; and judge.json: per judge each system's mean
    with its 95 % interval, rows, missing rate, and the paired difference; the model, the prompt's hash, the cost.

    Raises UserError if no judge is on, for a model that cannot be used, for a wrong API key, and if an endpoint gives
    no judgement at all. A judgement that does not come is missing, never 0.
    """
    if embedding_model is None and entailment_model is None and config.llm.model is None:
        raise UserError("no judge is on", "name judge.embedding.model, judge.entailment.model or judge.llm.model")
    if config.llm.model and config.llm.relevance and embedding_model is None:
        raise UserError(
            "judge.llm.relevance compares questions by their embeddings, and there is no embedding model",
            "name one in judge.embedding.model, or set judge.llm.relevance to false",
        )
    cases = read_cases(rows, base_answers, tuned_answers)
    memory, completions = Memory(work, earlier), Completions(work, earlier)
    found: list[JudgeResult] = []
    embed = cache(partial(Embedder, embedding_model, config.embedding)) if embedding_model else None
    if embedding_model and embed:
        found += by_embedding(config.embedding, embedding_model, embed, cases, memory)
    if entailment_model:
        found.append(by_entailment(config.entailment, entailment_model, cases, memory))
    cost: dict[str, int] = {}
    if config.llm.model:
        by_model, cost = by_llm(config.llm, cases, completions, embed)
        found += by_model
    completions.write(out)  # those carried on, if no language model judged today
    write_judgements(out / "judgements.arrow", cases, found)
    summary = {
        "rows": len(cases) // 2,
        "judges": [
            {"judge": each.judge, **each.about, **figures(cases, each, resamples=config.resamples, seed=config.seed)}
            for each in found
        ],
        "cost": cost,
        "settings": identity(config),
    }
    (out / "judge.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return {"judgements_taken_over": memory.taken_over, "judgements_made": memory.made, **cost}
