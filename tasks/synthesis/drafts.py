"""A drafted question: what the writers give, and later steps make rows of."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from tasks.synthesis.documents import Chunk


class Draft(NamedTuple):
    """A question that chunk `number` of a document answers, in `line` of its text; no answer where it does not."""

    id: str
    document: str
    number: int
    query: str
    answer: str | None
    value: str | None
    line: str
    kind: str
    writer: str
    language: str


def drafted(chunk: Chunk, query: str, answer: str | None, line: str, kind: str, **more: str | None) -> Draft:
    """With an id of its own content, so that it stays what it is while its document's other questions change."""
    name = sha256("\0".join((chunk.document, query, answer or "", line)).encode()).hexdigest()[:12]
    given = {"value": None, "writer": "", "language": ""} | more
    return Draft(f"{chunk.document}#{name}", chunk.document, chunk.number, query, answer, given["value"], line, kind,
                 str(given["writer"]), str(given["language"]))  # fmt: skip


def read_chunks(folder: Path) -> Iterator[Chunk]:
    """All chunks that `ingest` wrote, document by document."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield Chunk(**orjson.loads(line))


def read_drafts(folder: Path) -> Iterator[Draft]:
    """All drafts that `draft` wrote, in the order of their chunks."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield Draft(**orjson.loads(line))
