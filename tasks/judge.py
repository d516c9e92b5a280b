"""judge: what models think of the answers, beside the metrics. Optional; it reports, and never gates."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import orjson

from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.engine.inputs import Local
from tasks.engine.key import identity
from tasks.judges.agreement import LABELLED, Agreement, agreement, better, calibrated, labelled
from tasks.judges.base import BaseConfig, by_base, loader
from tasks.judges.cases import (
    KNOWN_ANSWERS,
    TABLE,
    Case,
    JudgeResult,
    Memory,
    figures,
    lexical,
    read_cases,
    write_judgements,
)
from tasks.judges.embedding import Embedder, EmbeddingConfig, by_embedding
from tasks.judges.endpoint import Completions
from tasks.judges.entailment import EntailmentConfig, by_entailment
from tasks.judges.llm import PROMPTS, LlmConfig, by_llm
from tasks.judges.local import LIBRARIES, folder_of
from tasks.models.vllm import stop as end_vllm
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES


class JudgeConfig(Config):
    """Which models judge the answers: none, unless one is named."""

    base: BaseConfig = BaseConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    entailment: EntailmentConfig = EntailmentConfig()
    llm: LlmConfig = LlmConfig()

    @property
    def on(self) -> bool:
        """Whether any judge is named."""
        return self.base.enabled or any(
            each is not None for each in (self.embedding.model, self.entailment.model, self.llm.model)
        )

    def models(self) -> dict[str, Local | None]:
        """The local models as inputs of the step, by its arguments' names. UserError for a folder that holds none."""
        return {
            "embedding_model": folder_of("judge.embedding.model", self.embedding),
            "entailment_model": folder_of("judge.entailment.model", self.entailment),
        }


@step(
    libraries=("bitsandbytes", "numpy", "pyarrow", "scipy", *TEXT_LIBRARIES, *LIBRARIES),
    resources=(PROMPTS, LABELLED, *LANGUAGE_FILES),
)
def judge(
    config: JudgeConfig,
    *,
    rows: Path,
    base_answers: Path,
    tuned_answers: Path,
    base: Path | None = None,
    embedding_model: Path | None = None,
    entailment_model: Path | None = None,
    work: Path,
    earlier: Sequence[Path] = (),
    out: Path,
) -> dict[str, float]:
    """Have base's and tuned's answers to `rows` judged by the models that are given, and by `config.llm` if it is on.

    Judgements of the same judge, question, context and answer are taken over from `earlier` artifacts and from a killed
    run; no request is sent to a language model twice. A judge of support first judges answers whose support is known,
    and its agreement with them stands beside its figure.

    Writes judgements.arrow: id, system (base or tuned), judge, score (null if there is none), reason (why there is
    none), digest; known_answers.arrow, the same of the answers whose support is known; completions.arrow: what a
    language model replied; and judge.json: per judge each system's mean with its 95 % interval, rows, missing rate, and
    the paired difference; the model, the prompt's hash; the cost; and the agreements, the lexical layer's first.

    Raises UserError if no judge is on, for a model that cannot be used, for a wrong API key, and if an endpoint gives
    no judgement at all. A judgement that does not come is missing, never 0.
    """
    end_vllm()
    if not base and embedding_model is None and entailment_model is None and config.llm.model is None:
        raise UserError(
            "no judge is on",
            "set judge.base.enabled, or name judge.embedding.model, judge.entailment.model or judge.llm.model",
        )
    if config.llm.model and config.llm.relevance and embedding_model is None:
        raise UserError(
            "judge.llm.relevance compares questions by their embeddings, and there is no embedding model",
            "name one in judge.embedding.model, or set judge.llm.relevance to false",
        )
    cases = read_cases(rows, base_answers, tuned_answers)
    memory, completions = Memory(work, earlier), Completions(work, earlier)
    judged = _Judged(cases)
    embed = cache(partial(Embedder, embedding_model, config.embedding)) if embedding_model else None
    if embedding_model and embed:
        judged.found += by_embedding(config.embedding, embedding_model, embed, cases, memory)
    if base:
        signals = by_base(config.base, base, loader(base, config.base), judged.with_known, memory)
        judged.add(*signals)
        judged.calibrate(signals)
    if entailment_model:
        judged.add(by_entailment(config.entailment, entailment_model, judged.with_known, memory))
    cost: dict[str, int] = {}
    if config.llm.model:
        by_model, cost = by_llm(config.llm, judged.with_known if config.llm.measured else cases, completions, embed)
        if config.llm.measured:
            judged.add(*by_model)
        else:
            judged.found += by_model
    completions.write(out)  # those carried on, if no language model judged today
    write_judgements(out / TABLE, cases, judged.found)
    write_judgements(out / KNOWN_ANSWERS, judged.known, judged.of_known)
    summary = {
        "rows": len(cases) // 2,
        "judges": [{"judge": each.judge, **each.about, **figures(cases, each)} for each in judged.found],
        "agreement": [each.model_dump() for each in judged.agreements()],
        "base_beats_lexical": judged.base_beats_lexical,
        "cost": cost,
        "settings": identity(config),
    }
    (out / "judge.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return {"judgements_taken_over": memory.taken_over, "judgements_made": memory.made, **cost}


class _Judged:
    """What judges say of the cases, and of the answers whose support is known."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.known, _ = labelled()
        self.with_known = [*self.known, *cases]
        self.found: list[JudgeResult] = []
        self.of_known: list[JudgeResult] = []
        self.base_beats_lexical: bool | None = None  # None where the base does not judge

    def add(self, *results: JudgeResult) -> None:
        """Results of `with_known`."""
        count = len(self.known)
        for judge, about, said in results:
            self.of_known.append(JudgeResult(judge, about, said[:count]))
            self.found.append(JudgeResult(judge, about, said[count:]))

    def calibrate(self, signals: Sequence[JudgeResult]) -> None:
        """Add the base's verdict: one probability from its signals."""
        count = len(self.known)
        known, new = calibrated(
            [each.judgements[:count] for each in signals], [each.judgements[count:] for each in signals]
        )
        about = {**signals[0].about, "label": "Support (base model)"}
        self.add(JudgeResult("base", about, [(each, None) for each in (*known, *new)]))
        self.base_beats_lexical = better(known, lexical(self.known))

    def agreements(self) -> list[Agreement]:
        """Of the lexical layer and of each judge of support; of one that scored too little to tell, none."""
        layers = {"lexical": lexical(self.known)} | {each.judge: each.judgements for each in self.of_known}
        return [found for judge, said in layers.items() if (found := agreement(judge, said))]
