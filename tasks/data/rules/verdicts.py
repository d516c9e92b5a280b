"""A verdict for every row of some files, for people who check their rows before they train on them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from tasks.data.readers.files import read_lines
from tasks.data.readers.identity import digest, normal
from tasks.data.rules.across import repeats
from tasks.data.rules.shard import RowConfig, examine
from tasks.data.rules.table import REMEDIES, Finding

Verdict = Literal["kept", "warned", "rejected"]


class RowVerdict(NamedTuple):
    """One row: `rejected`, `warned` (kept, with a finding) or `kept`. The id is None where the row cannot be read."""

    file: str
    line: int
    id: str | None
    verdict: Verdict
    findings: list[Finding]


def row_verdicts(files: Sequence[Path], config: RowConfig) -> Iterator[RowVerdict]:
    """Verdicts as `validate` reaches them, in order. Memory holds the rows' ids and findings, but no text.

    Raises UserError for a file that cannot be read.
    """
    import numpy as np

    rows: list[tuple[str, int, str | None, list[Finding]]] = []
    kept: list[int] = []  # places in `rows`
    keys: list[int] = []
    answers: list[int] = []
    for path in files:
        for line, raw in read_lines(path):
            row, findings, key, _, _ = examine(raw, config)
            if row and not _rejected(findings):
                kept.append(len(rows))
                keys.append(int.from_bytes(key[:8], "little"))
                answers.append(int.from_bytes(digest([normal(row.answer).rstrip(b".")])[:4], "little"))
            rows.append((path.name, line, row.id if row else _id(raw), findings))
    for repeat in repeats(np.array(keys, "<u8"), np.array(answers, "<u4")):
        rule, level = ("duplicate", config.rules.duplicate) if repeat.same else ("conflict", config.rules.conflict)
        if level != "off":
            file, line, *_ = rows[kept[repeat.first]]
            value = f"{'as' if repeat.same else 'against'} {file}:{line}"
            rows[kept[repeat.row]][3].append(Finding(rule, level, value, REMEDIES[rule]))
    for file, line, name, findings in rows:
        verdict: Verdict = "rejected" if _rejected(findings) else "warned" if findings else "kept"
        yield RowVerdict(file, line, name, verdict, findings)


def _rejected(findings: list[Finding]) -> bool:
    return any(finding.level == "reject" for finding in findings)


def _id(raw: bytes) -> str | None:
    try:
        fields: Any = orjson.loads(raw)
        return str(fields["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
