"""draft: questions with grounded answers for each chunk, by a teacher or without any model."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field, PositiveInt

from tasks.engine import Config, Text, step
from tasks.engine.errors import UserError
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.parts import Parts, Piece
from tasks.engine.progress import Progress
from tasks.judges.endpoint import Completions
from tasks.judges.llm import PROMPTS as EXAMINED
from tasks.synthesis.documents import Chunk
from tasks.synthesis.drafts import drafted, read_chunks
from tasks.synthesis.offline import QUESTIONS, pairs
from tasks.synthesis.teacher import PROMPTS, TeacherConfig, teach
from tasks.text import AUTO, LANGUAGE_FILES, TEXT_LIBRARIES, detect

OFFLINE = "offline"


class DraftConfig(Config):
    """Who writes, and how much."""

    language: Text = Field(AUTO, description="ISO 639-1 code of the documents; auto: told document by document.")
    per_passage: PositiveInt = Field(6, description="Questions that the offline writer takes from a passage, at most.")
    teacher: TeacherConfig = TeacherConfig()


@step(
    libraries=("orjson", *TEXT_LIBRARIES),
    resources=(QUESTIONS, PROMPTS, EXAMINED, *LANGUAGE_FILES),
    parts=("drafts",),
)
def draft(
    config: DraftConfig,
    *,
    chunks: Path,
    out: Path,
    work: Path,
    earlier: Sequence[Path] = (),
    mapper: Mapper = map_serial,
) -> dict[str, float]:
    """Write to out/drafts/ the drafts of each document, a file of JSON lines for each.

    Without a teacher, sentences, lines and tables are asked about in their own words; a document that is unchanged is
    taken over. With one, no passage is asked about twice: replies are kept in completions.arrow, and by a killed run.
    report.json counts the drafts by kind, and says what is left out and what was spent.

    Raises UserError if there is no draft.
    """
    (out / "drafts").mkdir()
    completions = Completions(work, earlier)
    if config.teacher.model:
        report = _taught(config, chunks, completions, out)
        counts: dict[str, float] = {}
    else:
        parts = Parts(out, earlier, work, mapper)
        report = _offline(config, chunks, parts)
        parts.write()
        counts = parts.counts
    completions.write(out)
    if not report["drafts"]:
        languages = ", ".join(report["languages"]) or "none"
        raise UserError(
            f"no question was found in these documents (languages: {languages})",
            "name a teacher: synthesize.teacher.model and its endpoint; the offline writer asks about sentences, lines "
            "such as `Oil volume: 5 l`, and tables",
        )
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return counts


def _offline(config: DraftConfig, chunks: Path, parts: Parts) -> dict[str, Any]:
    report: dict[str, Any] = {"drafts": 0, "kinds": Counter(), "languages": Counter()}
    files = sorted(chunks.glob("*.jsonl"))

    def piece(path: Path) -> Piece:
        data = path.read_bytes()
        return Piece(
            [data.decode(), config.language, config.per_passage], lambda: (data, config.language, config.per_passage)
        )

    with Progress("draft", total=len(files)) as bar:
        for number, part in enumerate(parts.map(ask, map(piece, files))):
            parts.link_into(part, drafts=f"drafts/{number:05}.jsonl")
            report["drafts"] += part.facts["drafts"]
            report["kinds"].update(part.facts["kinds"])
            report["languages"].update(part.facts["languages"])
            bar.update(1)
    return report


def ask(data: bytes, language: str, most: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The offline writer's drafts of a document's chunks, as lines of JSON; facts: how many, of which kinds."""
    chunks = [Chunk(**orjson.loads(line)) for line in data.splitlines()]
    code, found = _language(chunks, language), []
    for chunk in chunks:
        for pair in pairs(chunk, code, most):
            found.append(
                drafted(
                    chunk,
                    pair.query,
                    pair.answer,
                    pair.line,
                    pair.kind,
                    value=pair.value,
                    writer=OFFLINE,
                    language=code,
                )
            )
    asked = Counter(each.query.casefold() for each in found)
    kept = [each for each in found if asked[each.query.casefold()] == 1]  # in two chunks: which one is meant?
    facts = {"drafts": len(kept), "kinds": Counter(each.kind for each in kept), "languages": {code: 1}}
    return {"drafts": b"".join(orjson.dumps(each._asdict()) + b"\n" for each in kept)}, facts


def _language(chunks: Sequence[Chunk], language: str) -> str:
    """Of a document, told by its text if it is not set."""
    return detect(*(chunk.text for chunk in chunks)) if language == AUTO else language


def _taught(config: DraftConfig, chunks: Path, completions: Completions, out: Path) -> dict[str, Any]:
    told: list[tuple[Chunk, str]] = []
    for _, group in groupby(read_chunks(chunks), key=lambda each: each.document):
        of_document = list(group)
        code = _language(of_document, config.language)
        told += [(chunk, code) for chunk in of_document]
    taught = teach(config.teacher, told, completions)
    kinds: Counter[str] = Counter()
    by_document = groupby(zip(told, taught.drafts, strict=True), key=lambda each: each[0][0].document)
    for number, (_, written) in enumerate(by_document):
        drafts = [draft for _, of_chunk in written for draft in of_chunk]
        kinds.update(draft.kind for draft in drafts)
        lines = [orjson.dumps(each._asdict()) + b"\n" for each in drafts]
        (out / "drafts" / f"{number:05}.jsonl").write_bytes(b"".join(lines))
    languages = Counter(code for (document, code) in {(chunk.document, code) for chunk, code in told})
    return {
        "drafts": kinds.total(),
        "kinds": kinds,
        "languages": languages,
        "left_out": taught.left_out,
        "cost": taught.cost,
    }
