"""compose: drafts as triplets, with passages that do not answer beside the one that does, or without it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, NonNegativeInt, model_validator

from tasks.engine import Config, Text, step
from tasks.synthesis.documents import Chunk
from tasks.synthesis.drafts import Draft, read_chunks, read_drafts
from tasks.text import ENGLISH, LANGUAGE_FILES, TEXT_LIBRARIES, content_stems, refusal_sentence, sentences
from tasks.text.bm25 import Bm25
from tasks.text.support import stands_in

Share = Annotated[float, Field(ge=0, le=1)]
ENOUGH = 0.8  # of a question's words in one sentence: it may be answered there


class RecipeSettings(Config):
    """Which contexts the questions are given. What is drawn by lot depends on the row and `salt` alone."""

    preset: Literal["balanced", "raft"] = Field(
        "balanced",
        description="raft: as RAFT has it: always four distractors, and 20 % without the right passage; these refuse.",
    )
    unanswerable: Share = Field(0.25, description="Of the questions that have an answer, so many stand without it.")
    alone: Share = Field(0.3, description="Of the answered ones, so many with the right passage alone.")
    distractors: tuple[NonNegativeInt, NonNegativeInt] = Field(
        (1, 3), description="Of the others, so many passages beside it, from and to: of its document first, by BM25."
    )
    citations: Literal["none", "numbered"] = Field(
        "none", description="numbered: passages begin with [1], [2], …, and an answer ends with the number of its own."
    )
    salt: Text = Field("reground", description="Another salt draws other lots.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        raft = {"unanswerable": 0.2, "alone": 0.0, "distractors": (4, 4)}
        return raft | given if isinstance(given, dict) and given.get("preset") == "raft" else given


class RecipeConfig(RecipeSettings):
    """And the sentence that refuses; null: that of the row's language."""

    refusal: Text | None = None


@step(libraries=("bm25s", "numpy", "orjson", *TEXT_LIBRARIES), resources=LANGUAGE_FILES)
def compose(config: RecipeConfig, *, drafts: Path, chunks: Path, out: Path) -> None:
    """Write out/triplets.jsonl, a row for each draft: {id, document, query, context, answer, gold, value, chunk, kind,
    writer, language}; `chunk` is the number of the passage in its document, `span` where in it the answer stands.

    A question without its answer keeps its own passage, less the line that answers (kind `contrast`), or has the
    nearest other ones (`missed`); only where no sentence of them has the question's words. report.json counts kinds.
    """
    found = list(read_chunks(chunks))
    composer = _Composer(config, found, {each.document: each.language for each in read_drafts(drafts)})
    kinds: Counter[str] = Counter()
    with (out / "triplets.jsonl").open("wb") as file:
        for draft in read_drafts(drafts):
            row = composer.row(draft)
            kinds[row["kind"]] += 1
            file.write(orjson.dumps({name: value for name, value in row.items() if value is not None}) + b"\n")
    report = {"rows": kinds.total(), "kinds": kinds}
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


class _Composer:
    def __init__(self, config: RecipeConfig, chunks: Sequence[Chunk], languages: Mapping[str, str]) -> None:
        self._config, self._chunks = config, chunks
        self._places: dict[str, list[int]] = defaultdict(list)  # of a document's chunks
        for place, chunk in enumerate(chunks):
            self._places[chunk.document].append(place)
        self._index = Bm25([content_stems(chunk.passage, languages.get(chunk.document, ENGLISH)) for chunk in chunks])

    def row(self, draft: Draft) -> dict[str, Any]:
        config, kind = self._config, draft.kind
        own = self._places[draft.document][draft.number]
        gold = self._chunks[own].passage
        others = list(self._others(draft, own))
        count = self._count(draft) if others else 0
        refuses = draft.answer is None
        context, answer = [gold, *others[:count]], draft.answer
        if not refuses and self._lot(draft, "answered") < config.unanswerable:
            fewest = max(1, count)
            less = self._without(draft, gold)
            if less and (self._lot(draft, "contrast") < 0.5 or not others):
                context, kind, refuses = [less, *others[:count]], "contrast", True
            elif others and not any(self._answers(draft, each) for each in others[:fewest]):
                context, kind, refuses = others[:fewest], "missed", True
        context.sort(key=lambda passage: self._lot(draft, passage))
        place = context.index(gold) if gold in context and not refuses else None
        if config.citations == "numbered":
            context = [f"[{number}] {passage}" for number, passage in enumerate(context, 1)]
            answer = f"{answer} [{place + 1}]" if place is not None else answer
        at = gold.find(draft.line) if place is not None and draft.line else -1
        return {
            "id": draft.id,
            "document": draft.document,
            "query": draft.query,
            "context": context,
            "answer": refusal_sentence(draft.language, config.refusal) if refuses else answer,
            "gold": [] if place is None else [place],
            "value": None if refuses else draft.value,
            "chunk": draft.number,
            "span": [at, at + len(draft.line)] if at >= 0 else None,
            "kind": kind,
            "writer": draft.writer,
            "language": draft.language,
        }

    def _count(self, draft: Draft) -> int:
        """How many distractors a question has."""
        if self._lot(draft, "alone") < self._config.alone:
            return 0
        low, high = sorted(self._config.distractors)
        return low + int(self._lot(draft, "count") * (high - low + 1))

    def _others(self, draft: Draft, own: int) -> Iterator[str]:
        """Passages near to the question that do not answer it: those of its document first."""
        stems = content_stems(draft.query, draft.language)
        scores = self._index.scores(stems)
        most = max(self._config.distractors)
        here = set(self._places[draft.document])
        near = self._index.highest(scores, most + len(here) + 8)
        order = [*sorted(here - {own}, key=lambda place: (-scores[place], place)), *(p for p in near if p not in here)]
        taken = 0
        for place in order:
            passage = self._chunks[place].passage
            if not self._answers(draft, passage):
                yield passage
                taken += 1
            if taken >= max(1, most):
                return

    def _without(self, draft: Draft, passage: str) -> str | None:
        """The passage less the line that answers, if nothing else in it may answer."""
        if draft.line not in passage or draft.line.startswith("|"):
            return None
        lines = [line for line in passage.replace(draft.line, "").split("\n") if line.strip() not in ("", "-")]
        less = "\n".join(" ".join(line.split()) for line in lines)
        return less if content_stems(less, draft.language) and not self._answers(draft, less) else None

    def _answers(self, draft: Draft, passage: str) -> bool:
        """Whether a passage may answer: it has the value, or a sentence with nearly all words of the question."""
        if draft.value and stands_in(draft.value, passage):
            return True
        if draft.line and draft.line in passage:
            return True
        asked = set(content_stems(draft.query, draft.language))
        return any(
            len(asked & set(content_stems(sentence, draft.language))) >= ENOUGH * len(asked)
            for line in passage.split("\n")
            for sentence in sentences(line, draft.language)
        )

    def _lot(self, draft: Draft, what: str) -> float:
        """From 0 to 1, by the row alone."""
        digest = sha256("\0".join((self._config.salt, draft.id, what)).encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48
