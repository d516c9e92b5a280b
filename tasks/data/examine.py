"""Rows examined: one by one, in shards with a sketch for comparing rows across shards, and as verdicts."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel

from tasks.data.forms import AS_GIVEN, RowFormat, own_id, parse
from tasks.data.identity import digest, normal
from tasks.data.names import names_digest
from tasks.data.parsing import Malformed, loads, repeated_keys
from tasks.data.readers import read_lines
from tasks.data.rules import RULES, Finding, Level, Rules, judge, says_there_is_none, with_refusal_marked
from tasks.data.shards import checksums
from tasks.data.triplets import Triplet, to_arrow
from tasks.text import AUTO, detect, language_digests, refusal_sentence

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 3  # per rule and level
ACROSS = {"duplicate", "conflict", "repeated_id"}  # rules that compare rows


class RowConfig(NamedTuple):
    """What of the config shapes a row by itself."""

    rules: Rules
    refusal: str | None  # None: the language's own
    empty_answer: Literal["refuse", "reject"]
    language: str = AUTO  # ISO 639-1 code of rows that name none
    form: RowFormat = AS_GIVEN

    @property
    def given(self) -> list[Any]:
        """The same as JSON, without the rules that compare rows."""
        rules = self.rules.model_dump(exclude=ACROSS)
        own = [self.refusal, self.empty_answer, self.language, self.form.model_dump()]
        return [rules, *own, names_digest(), *language_digests()]


class Examined(NamedTuple):
    """One row by itself: the triplet, or None where malformed, and what was found."""

    row: Triplet | None
    findings: list[Finding]
    key: bytes = b""  # the same for rows with the same normalised query and context
    has_id: bool = False  # of its own
    form: str = ""
    unused: frozenset[str] = frozenset()

    @property
    def reason(self) -> Finding | None:
        """What rejects the row."""
        return next((finding for finding in self.findings if finding.level == "reject"), None)


class RowVerdict(BaseModel, frozen=True):
    """What validation decides about one row."""

    file: str
    line: int
    id: str | None  # the row's own or derived id; None where a malformed row names none
    verdict: Literal["accepted", "rejected"]
    findings: tuple[Finding, ...]  # of an accepted row, warnings alone


def verdicts(files: Iterable[Path], config: "RowConfig") -> Iterator[RowVerdict]:
    """The verdict on each row of the files, in order, as `validate` decides. Memory holds some 400 bytes a row."""
    first: dict[bytes, tuple[bytes, str]] = {}  # by key: the answer's mark and the place of the first row that passed
    ids: dict[str, str] = {}  # the place of the first row that passed with it
    for path in files:
        for line, raw in read_lines(path):
            place = f"{path.name}:{line}"
            examined = examine(raw, config)
            findings = list(examined.findings)
            if examined.row and not examined.reason:
                mark = answer_mark(examined.row)
                earlier = first.setdefault(examined.key, (mark, place))
                if earlier[1] != place:
                    rule = "duplicate" if earlier[0] == mark else "conflict"
                    findings += repeated(config.rules, rule, earlier[1])
                if examined.has_id and (same_id := ids.setdefault(examined.row.id, place)) != place:
                    findings += repeated(config.rules, "repeated_id", same_id)
            yield RowVerdict(
                file=path.name,
                line=line,
                id=examined.row.id if examined.row else own_id(raw),
                verdict="rejected" if any(each.level == "reject" for each in findings) else "accepted",
                findings=tuple(findings),
            )


def repeated(rules: Rules, rule: str, place: str) -> list[Finding]:
    """What a rule of `ACROSS` finds in a row that has something of an earlier row at `place`: one finding, or none."""
    level: Level = getattr(rules, rule)
    value = f"{'against' if rule == 'conflict' else 'as'} {place}"
    return [] if level == "off" else [Finding(rule, level, value, RULES[rule].remedy)]


def answer_mark(row: Triplet) -> bytes:
    """4 bytes that rows with the same answer share."""
    return digest([normal(row.answer).rstrip(b".")])[:4]


def examine_shard(raw: list[bytes], config: RowConfig) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Examine the rows of a shard, each by itself.

    Files: ``rows``, the triplets that passed, as Arrow; ``sketch``, a `SKETCH` record for each of them, in their order;
    ``rejected``, where there are any, a line of JSON for each other row. Facts: how many rows were read, by form and
    with which unused fields, and what was found by rule, with examples. Places are row numbers in the shard.
    """
    import numpy as np

    passed: list[Triplet] = []
    sketch: list[tuple[int, ...]] = []
    rejected: list[bytes] = []
    forms: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(raw):
        examined = examine(line, config)
        row, findings, reason = examined.row, examined.findings, examined.reason
        forms[examined.form] += row is not None
        languages[row.language if row else ""] += row is not None
        unused.update(examined.unused)
        for finding in [reason] if reason else findings:
            _note(found, finding, number, row.query if row else "")
        if reason or row is None:
            rejected.append(orjson.dumps(_quarantined(number, findings, line)) + b"\n")
            continue
        passed.append(row)
        lengths = sum(map(len, row.context)), len(row.answer)
        id_ = digest([row.id.encode()])[:8] if examined.has_id else b""
        key, mark, own = (int.from_bytes(each, "little") for each in (examined.key[:8], answer_mark(row), id_))
        sketch.append((key, own, mark, number, *lengths, row.refusal, bool(findings)))
    files = {
        "rows": to_arrow(passed, config.refusal),
        "sketch": np.array(sketch, SKETCH).tobytes(),
        "checksums": checksums(raw),
    }
    if rejected:
        files["rejected"] = b"".join(rejected)
    return files, {"read": len(raw), "forms": +forms, "languages": +languages, "unused": unused, "found": found}


SKETCH: "np.typing.DTypeLike" = [
    ("key", "<u8"),  # of query and context
    ("id", "<u8"),  # of its own; 0 for none
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
        loaded = loads(raw)
        parsed = parse(loaded, config.form)
    except Malformed as error:
        return Examined(None, [Finding("malformed", "reject", error.value, error.remedy)])
    code = parsed.row.language or config.language
    if code == AUTO:
        code = detect(max(parsed.row.context, key=len), parsed.row.query)
    given, rules, sentence = parsed.row._replace(language=code), config.rules, refusal_sentence(code, config.refusal)
    found: list[tuple[str, Literal["reject", "warn"], str]] = []
    if not given.answer:
        found = [("empty_answer", "reject" if config.empty_answer == "reject" else "warn", "")]
    elif rules.no_answer != "off" and says_there_is_none(given):
        found = [("no_answer", rules.no_answer, given.answer)]
        given = given._replace(answer="")
    if rules.repeated_key != "off" and (keys := repeated_keys(raw, loaded)):
        found.append(("repeated_key", rules.repeated_key, ", ".join(keys)))
    row = with_refusal_marked(given, sentence)
    findings = [Finding(rule, level, value, RULES[rule].remedy) for rule, level, value in found]
    findings += judge(row, rules, sentence)
    return Examined(row, findings, parsed.key, parsed.has_id, parsed.form, parsed.unused)


def _quarantined(number: int, findings: list[Finding], raw: bytes) -> dict[str, Any]:
    """An entry of the quarantine. A row that is not UTF-8 is kept byte by byte as Latin-1, and says so."""
    reason = next(finding for finding in findings if finding.level == "reject")
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
        example = {"number": number, "level": finding.level, "value": finding.value, "query": query}
        counts["examples"].append(example | {"remedy": finding.remedy})


class Repeat(NamedTuple):
    """A row with something of an earlier row, as a rule of `ACROSS` says: the index of each."""

    row: int
    first: int
    rule: str


def repeats(rows: "np.ndarray") -> list[Repeat]:
    """Rows with the key or the id of an earlier row, in order; `rows` is a `SKETCH` of them all.

    The chance that two different rows among n share a 64-bit hash is n²/2⁶⁵: 3e-8 for a million.
    """
    import numpy as np

    _, first, which = np.unique(rows["key"], return_index=True, return_inverse=True)
    firsts = first[which]
    again = np.flatnonzero(firsts != np.arange(rows.size))
    same = rows["answer"][again] == rows["answer"][firsts[again]]
    rules = np.where(same, "duplicate", "conflict").tolist()
    found = list(map(Repeat, again.tolist(), firsts[again].tolist(), rules))
    named = np.flatnonzero(rows["id"])
    _, first, which = np.unique(rows["id"][named], return_index=True, return_inverse=True)
    firsts = named[first[which]]
    again = firsts != named
    return sorted(
        found
        + [Repeat(*pair, "repeated_id") for pair in zip(named[again].tolist(), firsts[again].tolist(), strict=True)]
    )
