"""What a shard of rows holds: its triplets, and a sketch by which rows of other shards are compared with them."""

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from tasks.data.readers import Malformed, parse
from tasks.data.readers.identity import digest, normal
from tasks.data.readers.shards import checksums
from tasks.data.rules.row import judge, settle
from tasks.data.rules.table import REMEDIES, Finding, Rules
from tasks.data.triplets import Triplet, TripletWriter

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 3  # per rule and level


class RowConfig(NamedTuple):
    """What of the config shapes a row by itself."""

    rules: Rules
    refusal: str
    empty_answer: Literal["refuse", "reject"]

    @property
    def given(self) -> list[Any]:
        """The same as JSON, without the rules that compare rows."""
        return [self.rules.model_dump(exclude={"duplicate", "conflict"}), self.refusal, self.empty_answer]


class Examined(NamedTuple):
    """One row by itself: the triplet, or None where malformed, and what was found."""

    row: Triplet | None
    findings: list[Finding]
    key: bytes = b""
    form: str = ""
    unused: frozenset[str] = frozenset()


def examine_shard(raw: list[bytes], config: RowConfig) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Examine the rows of a shard, each by itself.

    Files: ``rows``, the triplets that passed, as Arrow; ``sketch``, a `SKETCH` record for each of them, in their order;
    ``rejected``, where there are any, a line of JSON for each other row. Facts: how many rows were read, by form and
    with which unused fields, and what was found by rule, with examples. Places are row numbers in the shard.
    """
    import numpy as np
    import pyarrow as pa

    passed = pa.BufferOutputStream()
    sketch: list[tuple[int, ...]] = []
    rejected: list[bytes] = []
    forms: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    found: dict[str, dict[str, Any]] = {}
    with TripletWriter(passed, config.refusal) as writer:
        for number, line in enumerate(raw):
            row, findings, key, form, unread = examine(line, config)
            forms[form] += row is not None
            unused.update(unread)
            reason = next((finding for finding in findings if finding.level == "reject"), None)
            query = row.query if row else ""
            if reason:
                rejected.append(orjson.dumps(quarantined(number, reason, findings, line)))
                _note(found, reason, number, query)
                continue
            assert row is not None
            for finding in findings:
                _note(found, finding, number, query)
            mark = digest([normal(row.answer).rstrip(b".")])
            writer.add(row)
            sketch.append(
                (
                    int.from_bytes(key[:8], "little"),
                    int.from_bytes(mark[:4], "little"),
                    number,
                    sum(map(len, row.context)),
                    len(row.answer),
                    row.refusal,
                    bool(findings),
                )
            )
    files = {
        "rows": passed.getvalue().to_pybytes(),
        "sketch": np.array(sketch, SKETCH).tobytes(),
        "checksums": checksums(raw),
    }
    if rejected:
        files["rejected"] = b"\n".join(rejected) + b"\n"
    return files, {"read": len(raw), "forms": +forms, "unused": unused, "found": found}


SKETCH: "np.typing.DTypeLike" = [
    ("key", "<u8"),  # of query and context
    ("answer", "<u4"),  # of the answer
    ("number", "<u4"),  # of the row in its shard
    ("context_chars", "<u4"),
    ("answer_chars", "<u4"),
    ("refusal", "?"),
    ("warned", "?"),
]


def examine(raw: bytes, config: RowConfig) -> Examined:
    """A row's triplet and what its own rules find: a pure function of its bytes and the config."""
    try:
        parsed = parse(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        return Examined(None, [_malformed(*_why_no_json(raw, error))])
    except Malformed as error:
        return Examined(None, [_malformed(error.value, error.remedy)])
    row = settle(parsed.row, config.refusal)
    findings = judge(row, config.rules, config.refusal)
    if not parsed.row.answer:
        level: Literal["reject", "warn"] = "reject" if config.empty_answer == "reject" else "warn"
        findings.insert(0, Finding("empty_answer", level, "", REMEDIES["empty_answer"]))
    return Examined(row, findings, parsed.key, parsed.form, parsed.unused)


def quarantined(number: int, reason: Finding, findings: list[Finding], raw: bytes) -> dict[str, Any]:
    """An entry of the quarantine. A row that is not UTF-8 is kept byte by byte as Latin-1, and says so."""
    entry = {"number": number, "rule": reason.rule, "value": reason.value, "remedy": reason.remedy}
    if also := [{"rule": f.rule, "level": f.level, "value": f.value} for f in findings if f is not reason]:
        entry["also"] = also
    try:
        return entry | {"row": raw.decode()}
    except UnicodeDecodeError:
        return entry | {"row": raw.decode("latin-1"), "encoding": "latin-1"}


def _note(found: dict[str, dict[str, Any]], finding: Finding, number: int, query: str) -> None:
    """Count a finding, and keep the first few of its rule and level as examples."""
    counts = found.setdefault(finding.rule, {"reject": 0, "warn": 0, "examples": []})
    counts[finding.level] += 1
    if counts[finding.level] <= EXAMPLES:
        counts["examples"].append(
            {
                "number": number,
                "level": finding.level,
                "value": finding.value,
                "query": query,
                "remedy": finding.remedy,
            }
        )


def _malformed(value: str, remedy: str) -> Finding:
    return Finding("malformed", "reject", value, remedy)


def _why_no_json(raw: bytes, error: orjson.JSONDecodeError) -> tuple[str, str]:
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8: byte 0x{raw[wrong.start]:02x} at {wrong.start}", REMEDIES["encoding"]
    return f"not JSON: {error}", REMEDIES["malformed"]
