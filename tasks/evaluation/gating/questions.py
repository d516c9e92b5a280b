"""Questions that every adapter must answer rightly: a JSONL file that people keep and `reground pin` adds to."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tasks.engine.errors import UserError

FIELDS = ("id", "query", "document", "reference", "answer")  # what a pinned line has; only the first two are read


class Question(NamedTuple):
    """A question by its row's id, or by its text; other fields are for people."""

    id: str | None
    query: str | None


def read_questions(path: Path) -> list[Question]:
    """The lines, in order. UserError with the line for one that names no question."""
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UserError(f"{path.name}:{number}: is no JSON: {error}", "write a JSON object a line") from None
        named = [given.get(name) for name in ("id", "query")] if isinstance(given, Mapping) else [None, None]
        if not any(isinstance(each, str) and each for each in named):
            raise UserError(f"{path.name}:{number}: names no question", 'give it an "id" or a "query"')
        found.append(Question(*(each if isinstance(each, str) else None for each in named)))
    return found


def pin(path: Path, answers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Add to the file those that it does not name yet, by id; returns them. Creates the file."""
    known = {each.id for each in read_questions(path)} if path.exists() else set()
    new = [each for each in answers if each["id"] not in known]
    if new:
        text = path.read_bytes() if path.exists() else b""
        start = b"" if not text or text.endswith(b"\n") else b"\n"
        lines = (orjson.dumps({name: each[name] for name in FIELDS if each.get(name)}) + b"\n" for each in new)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text + start + b"".join(lines))
    return new
