"""From documents to a file of triplets: its pipeline, and the file that people edit beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from flows.config import Retrain
from flows.pipeline import Run
from flows.sources import base_model, triplets
from tasks.compose import RecipeConfig, compose
from tasks.draft import DraftConfig, draft
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel, Local
from tasks.engine.storage.store import Artifact
from tasks.ingest import ingest
from tasks.synthesis.documents import CHARACTERS
from tasks.synthesis.drafts import read_chunks
from tasks.synthesis.teacher import TeacherConfig
from tasks.validate import validate

Row = dict[str, Any]
INSTRUCTIONS = 300  # tokens of a request, about, beside the passage


class Synthesized(NamedTuple):
    """The steps' artifacts, and the rows that validation accepted."""

    ingested: Artifact
    drafted: Artifact
    checked: Artifact
    rows: list[Row]


def synthesize(
    config: Retrain, source: Path, out: Path, run: Run[Artifact], say: Callable[[str], None] = print
) -> Synthesized:
    """ingest → draft → compose → validate. `say` tells what a teacher may cost before it is asked.

    UserError if the source is not there, holds `out`, or has nothing to ask about.
    """
    if not source.exists():
        raise UserError(f"there is no file or folder {source}", "name the documents' folder, or a JSONL of texts")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UserError(f"{out} is among the documents of {source}", "write the rows to another folder")
    asked = config.synthesize
    ingested = run(ingest, asked.passages, source=Local(source), tokenizer=_tokenizer(config))
    if asked.teacher.model:
        say(cost(asked.teacher, ingested))
    writes = DraftConfig(language=config.validation.language, per_passage=asked.per_passage, teacher=asked.teacher)
    drafted = run(draft, writes, chunks=ingested["chunks"])
    recipe = RecipeConfig(**dict(asked.recipe), refusal=config.validation.refusal)
    composed = run(compose, recipe, drafts=drafted["drafts"], chunks=ingested["chunks"])
    file = composed.folder / "triplets.jsonl"
    checks = config.validated.model_copy(update={"max_reject_share": 1.0})
    checked = run(validate, checks, rows=triplets(str(file)))
    rejected = {orjson.loads(line)["line"] for line in (checked.folder / "quarantine.jsonl").open("rb")}
    lines = enumerate(file.read_bytes().splitlines(), 1)
    return Synthesized(ingested, drafted, checked, [orjson.loads(text) for at, text in lines if at not in rejected])


def cost(teacher: TeacherConfig, ingested: Artifact) -> str:
    """What a teacher is asked at most, were nothing known yet."""
    questions = sum(teacher.count.model_dump().values()) if teacher.again else 0
    sizes = [len(chunk.passage) // CHARACTERS for chunk in read_chunks(ingested.folder / "chunks")]
    requests = len(sizes) * (1 + questions)
    tokens = sum(sizes) * (1 + questions) + requests * INSTRUCTIONS
    budget = ", ".join(f"{most:,} {what}" for what, most in teacher.budget if most is not None) or "none"
    return f"{teacher.model}: at most {requests:,} requests and about {tokens:,} tokens of prompts; budget: {budget}"


def _tokenizer(config: Retrain) -> Local | None:
    """The base model's, which counts a passage's tokens; of a hub model this file alone is downloaded."""
    base = base_model(config.base)
    if isinstance(base, HubModel):
        from huggingface_hub import hf_hub_download

        return Local(Path(hf_hub_download(base.name, "tokenizer.json", revision=base.commit)))
    path = base.path / "tokenizer.json"
    return Local(path) if path.is_file() else None


@dataclass
class Merged:
    """What became of the rows of a file: how many, and the ids of those that a person should look at again."""

    added: int = 0
    renewed: int = 0  # their document changed
    kept: int = 0
    removed: int = 0  # their source is gone
    edited: int = 0  # by a person, or a person's own
    deleted: int = 0  # by a person
    outdated: list[str] = field(default_factory=list)  # edited, and their passage changed since
    changed: bool = False


class _Known(NamedTuple):
    """What a row was when it was written: digests of the row, of its own passage, and of its document's passages."""

    row: str
    passage: str
    document: str


def merge(out: Path, made: Synthesized) -> Merged:
    """Write the rows to a file of JSON lines. What a person changed, added or took away there stays as it is.

    A row is written anew only when its document changed. What was written is remembered in a hidden file beside.
    """
    memory = out.with_name(f".{out.name}.written")
    known = (
        {name: _Known(*each) for name, each in orjson.loads(memory.read_bytes()).items()} if memory.is_file() else {}
    )
    present = _present(out)
    now = {row["id"]: _Known(_digest(row), *sources) for row, sources in _with_sources(made)}
    merged, lines = Merged(), []
    for row in made.rows:
        name = row["id"]
        there, was, is_now = present.pop(name, None), known.get(name), now[name]
        if there is None:
            if was and was.passage == is_now.passage:
                merged.deleted += 1
                now[name] = was
                continue
            merged.added += 1
            lines.append(row)
            continue
        if _digest(there) != (was or is_now).row:
            merged.edited += 1
            if was and was.passage != is_now.passage:
                merged.outdated.append(name)
            now[name] = was or is_now
            lines.append(there)
        elif was and was.document == is_now.document:
            merged.kept += 1
            now[name] = was
            lines.append(there)
        else:
            merged.renewed += there != row
            merged.kept += there == row
            lines.append(row)
    for name, row in present.items():  # what was not made today
        was = known.get(name)
        if was and _digest(row) == was.row:
            merged.removed += 1
            continue
        merged.edited += 1
        if was:
            now[name] = was
            merged.outdated.append(name)
        lines.append(row)
    content = b"".join(orjson.dumps(row) + b"\n" for row in lines)
    merged.changed = not out.is_file() or content != out.read_bytes()
    if merged.changed:
        _replace(out, content)
    _replace(
        memory, orjson.dumps({name: list(each) for name, each in now.items()})
    )  # behind the file: a row that is not remembered yet is compared with today's
    return merged


def _present(out: Path) -> dict[str, Row]:
    """The rows of the file by id; those without one by their place."""
    found: dict[str, Row] = {}
    if not out.exists():
        return found
    for number, line in enumerate(out.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            found[str(row.get("id") or f"line {number}")] = row
        except (ValueError, AttributeError):
            raise UserError(
                f"{out}:{number} is no JSON object", "mend that line, or name another file by --out"
            ) from None
    return found


def _with_sources(made: Synthesized) -> Iterable[tuple[Row, tuple[str, str]]]:
    passages: dict[str, list[str]] = {}
    for chunk in read_chunks(made.ingested.folder / "chunks"):
        passages.setdefault(chunk.document, []).append(chunk.passage)
    digests = {name: _digest(texts) for name, texts in passages.items()}
    for row in made.rows:
        yield row, (_digest(passages[row["document"]][row["chunk"]]), digests[row["document"]])


def _digest(value: Any) -> str:
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
