"""ingest: documents as chunks, each document read once."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field, PositiveInt

from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_file
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.parts import Parts, Piece
from tasks.engine.progress import Progress
from tasks.synthesis.documents import Document, chunks, documents


class IngestConfig(Config):
    """How documents become passages."""

    tokens: PositiveInt = Field(
        256, description="Of a passage, at most, but for a longer paragraph; by the base model's tokenizer."
    )


@step(libraries=("kreuzberg", "markdown-it-py", "tokenizers"), parts=("chunks",))
def ingest(
    config: IngestConfig,
    *,
    source: Path,
    tokenizer: Path | None = None,
    out: Path,
    earlier: Sequence[Path] = (),
    work: Path | None = None,
    mapper: Mapper = map_serial,
) -> dict[str, float]:
    """Write the chunks of each document of a file or folder to out/chunks/, a file of JSON lines for each document.

    report.json counts documents and chunks, and names what cannot be read, with the reason and a remedy.

    Raises UserError if no document can be read.
    """
    parts = Parts(out, earlier, work, mapper)
    tokens = sha256_file(tokenizer) if tokenizer else None
    found = list(documents(source))
    if twice := [name for name, count in Counter(each.id for each in found).items() if count > 1]:
        raise UserError(f"{source}: {len(twice)} documents share an id, such as {twice[0]!r}", "give each its own id")

    def piece(document: Document) -> Piece:
        given = [document.id, document.title, document.suffix, sha256(document.data).hexdigest(), config.tokens, tokens]
        return Piece(given, lambda: (document, config.tokens, tokenizer))

    report: dict[str, Any] = {"documents": 0, "chunks": 0, "unread": []}
    with Progress("ingest", total=len(found)) as bar:
        for number, part in enumerate(parts.map(cut, map(piece, found))):
            parts.link_into(part, chunks=f"chunks/{number:05}.jsonl")
            report["documents"] += 1
            report["chunks"] += part.facts["chunks"]
            report["unread"] += part.facts["unread"]
            bar.update(1)
    if not report["chunks"]:
        first = next(
            iter(report["unread"]), {"what": "there are no documents", "remedy": "name a folder that holds some"}
        )
        raise UserError(f"{source}: {first['what']}", first["remedy"])
    parts.write()
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return parts.counts


def cut(document: Document, tokens: int, tokenizer: Path | None) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A document's chunks as lines of JSON; facts: how many, and why it cannot be read."""
    try:
        found = chunks(document, tokens, tokenizer)
    except UserError as error:
        return {}, {"chunks": 0, "unread": [{"what": error.what, "remedy": error.remedy}]}
    lines = [orjson.dumps(each._asdict()) + b"\n" for each in found]
    return ({"chunks": b"".join(lines)} if lines else {}), {"chunks": len(found), "unread": []}
