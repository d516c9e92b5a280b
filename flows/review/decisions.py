"""What people decide of rows: a file for each reviewer beside the data, which git can merge."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel

from tasks.engine.errors import UserError

Row = dict[str, Any]
Choice = Literal["accept", "edit", "reject", "open"]  # open: taken back


class Decision(BaseModel, frozen=True, extra="forbid"):
    """A line of a reviewer's file; the last one of a row counts."""

    row: str  # its id
    was: str  # a digest of the row that was looked at
    choice: Choice
    query: str | None = None  # of an edit
    answer: str | None = None
    group: str | None = None  # of what was decided at one stroke
    by: str
    at: str


class Reviewed(NamedTuple):
    """A row of the data, by its id; its own number where it has none."""

    id: str
    row: Row
    digest: str


def read_rows(path: Path) -> list[Reviewed]:
    """The rows of a JSONL of {query, context, answer}. UserError for any other, and if there is none."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", "name a JSONL of {query, context, answer}")
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            context = [row["context"]] if isinstance(row["context"], str) else list(row["context"])
            row = row | {"query": str(row["query"]), "context": context, "answer": str(row.get("answer") or "")}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"{path}:{number} is no row", "review reads lines of {query, context, answer}") from None
        found.append(Reviewed(str(row.get("id") or f"line {number}"), row, digest(row)))
    return found


def digest(row: Row) -> str:
    """Of what a person judges: question, context and answer."""
    told = [row["query"], row["context"], row["answer"]]
    return sha256(orjson.dumps(told)).hexdigest()[:16]


class Decisions:
    """The decisions beside a file of rows; `by` is who decides here. Each is on the disk before it counts."""

    def __init__(self, data: Path, by: str) -> None:
        if not by or not all(char.isalnum() or char in "-_." for char in by) or by.startswith("."):
            raise UserError(f"{by!r} is no name of a reviewer", "use letters, digits, - and _: --by ann")
        self.folder, self.by = data.with_name(f"{data.name}.reviews"), by
        self.all: dict[str, dict[str, Decision]] = {}  # reviewer → row → decision
        for path in sorted(self.folder.glob("*.jsonl")):
            self.all[path.stem] = _latest(path)
        self.own = self.all.setdefault(by, {})

    def decide(
        self, given: Sequence[tuple[Reviewed, Choice, str | None, str | None]], group: str | None = None
    ) -> None:
        """Write decisions of this reviewer: row, choice, and an edit's question and answer."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        made = [
            Decision(
                row=each.id, was=each.digest, choice=choice, query=query, answer=answer, group=group, by=self.by, at=at
            )
            for each, choice, query, answer in given
        ]
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{self.by}.jsonl").open("ab") as file:
            file.write(b"".join(orjson.dumps(each.model_dump(exclude_none=True)) + b"\n" for each in made))
            file.flush()
            os.fsync(file.fileno())
        for each in made:
            if each.choice == "open":
                self.own.pop(each.row, None)
            else:
                self.own[each.row] = each

    def agreement(self) -> tuple[int, int]:
        """Of the rows that several people decided: how many, and on how many all said the same."""
        by_row: dict[str, set[tuple[Choice, str | None, str | None]]] = {}
        counts: dict[str, int] = {}
        for decided in self.all.values():
            for name, each in decided.items():
                by_row.setdefault(name, set()).add((each.choice, each.query, each.answer))
                counts[name] = counts.get(name, 0) + 1
        several = [name for name, count in counts.items() if count > 1]
        return len(several), sum(len(by_row[name]) == 1 for name in several)


def _latest(path: Path) -> dict[str, Decision]:
    """The last decision of each row. What a killed process left of a line is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    found: dict[str, Decision] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            each = Decision.model_validate_json(line)
        except ValueError:
            raise UserError(f"{path}:{number} is no decision", "mend that line, or take it out") from None
        found.pop(each.row, None)
        if each.choice != "open":
            found[each.row] = each
    return found


class Applied(NamedTuple):
    """What went into the data, and the ids of rows that did not: people disagree, or the row is another one now."""

    edited: int
    rejected: int
    accepted: int
    disputed: list[str]
    changed: list[str]


def apply_decisions(data: Path, decisions: Decisions) -> Applied:
    """Write edits into the file and take rejected rows out, in one stroke; all other rows stay as they are."""
    by_row: dict[str, list[Decision]] = {}
    for decided in decisions.all.values():
        for name, each in decided.items():
            by_row.setdefault(name, []).append(each)
    lines: list[Row] = []
    counts = {"edit": 0, "reject": 0, "accept": 0}
    disputed, changed = [], []
    for name, row, digest_now in read_rows(data):
        said = by_row.get(name, [])
        words = {(each.choice, each.query, each.answer) for each in said}
        if not said or len(words) > 1:
            disputed += [name] if said else []
            lines.append(row)
            continue
        ((choice, query, answer),) = words
        if choice == "edit" and digest(row | {"query": query, "answer": answer}) == digest_now:
            counts["edit"] += 1  # it is in the file already
        elif any(each.was != digest_now for each in said):
            changed.append(name)
        else:
            counts[choice] += 1
            if choice == "reject":
                continue
            if choice == "edit":
                kept = {key: value for key, value in row.items() if key != "value" or str(value) in (answer or "")}
                row = kept | {"query": query, "answer": answer}
        lines.append(row)
    content = b"".join(orjson.dumps(row) + b"\n" for row in lines)
    beside = data.with_name(f".{data.name}.new")
    beside.write_bytes(content)
    beside.replace(data)
    return Applied(counts["edit"], counts["reject"], counts["accept"], disputed, changed)
