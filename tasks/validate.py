"""Validate: rows of JSON lines in, triplets fit to learn from out, and a reason for every row left behind."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import Field

from tasks.errors import UserError
from tasks.readers import Malformed, parse, read_lines
from tasks.readers.identity import digest, normal
from tasks.rules.report import markdown, rejections
from tasks.rules.row import judge, settle
from tasks.rules.seen import Seen
from tasks.rules.table import REMEDIES, Finding, Rules
from tasks.rules.tally import Tally
from tasks.triplets import Triplet, TripletWriter
from tasks.versioning.step import Config, step


class ValidateConfig(Config):
    """What counts as a row fit to learn from."""

    refusal: Annotated[str, Field(min_length=1)] = Field(
        "Not stated in the context.", description="The one sentence that answers what the context does not"
    )
    empty_answer: Literal["refuse", "reject"] = Field(
        "refuse", description="An empty answer becomes the refusal sentence, with a warning, or is rejected"
    )
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="More rejected rows than this share stop the run; dropped duplicates do not count"
    )
    rules: Rules = Rules()


class Examined(NamedTuple):
    """One row by itself: the triplet, or None where malformed, and what was found."""

    row: Triplet | None
    findings: list[Finding]
    key: bytes = b""
    form: str = ""
    unused: frozenset[str] = frozenset()


@step(libraries=("orjson", "pyarrow", "PyStemmer"))
def validate(config: ValidateConfig, *, rows: list[Path], out: Path) -> None:
    """Write the clean rows of the files, in order, to `out`/rows.arrow, with a report of the others.

    `quarantine.jsonl` holds every row left out, with its file, line, rule, value, remedy and text; `report.json` and
    `report.md` count and show examples. A row is examined by itself first, then against sketches of the rows before
    it, so memory stays flat. UserError where more than `max_reject_share` are rejected, or none is left.
    """
    from tqdm import tqdm

    tally, seen = Tally(), Seen()
    with (
        TripletWriter(out / "rows.arrow") as clean,
        (out / "quarantine.jsonl").open("wb") as quarantine,
        tqdm(desc="validate", unit="row", disable=None) as bar,
    ):
        for index, path in enumerate(rows):
            for line, raw in read_lines(path):
                bar.update()
                tally.read += 1
                row, findings, key, form, unused = examine(raw, config)
                if row:
                    tally.meet(form, unused)
                    if not any(finding.level == "reject" for finding in findings):
                        findings += compare(row, key, index << 40 | line, seen, config.rules, rows)
                rejected = next((finding for finding in findings if finding.level == "reject"), None)
                if row and not rejected:
                    clean.add(row)
                    tally.keep(row, findings, (path.name, line))
                elif rejected:
                    quarantine.write(quarantined(path.name, line, rejected, findings, raw))
                    tally.reject(row, rejected, (path.name, line))
    summary = tally.summary(config.rules)
    _stop_if_unfit(tally, summary, config, rows)
    (out / "report.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    (out / "report.md").write_text(markdown(summary), encoding="utf-8")


def examine(raw: bytes, config: ValidateConfig) -> Examined:
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


def compare(row: Triplet, key: bytes, place: int, seen: Seen, rules: Rules, files: list[Path]) -> list[Finding]:
    """What the rules across rows find in a row that passed its own; `place` is its file's index << 40 | its line."""
    first = seen.meet(key, digest([normal(row.answer).rstrip(b".")]), place)
    if first is None:
        return []
    first_place, same = first
    rule, level = ("duplicate", rules.duplicate) if same else ("conflict", rules.conflict)
    if level == "off":
        return []
    file, line = files[first_place >> 40].name, first_place & (1 << 40) - 1
    return [Finding(rule, level, f"{'as' if same else 'against'} {file}:{line}", REMEDIES[rule])]


def quarantined(file: str, line: int, rejected: Finding, findings: list[Finding], raw: bytes) -> bytes:
    """A line of the quarantine. A row that is not UTF-8 is kept byte by byte as Latin-1, and says so."""
    entry: dict[str, Any] = {"file": file, "line": line}
    entry |= {"rule": rejected.rule, "value": rejected.value, "remedy": rejected.remedy}
    if also := [{"rule": f.rule, "level": f.level, "value": f.value} for f in findings if f is not rejected]:
        entry["also"] = also
    try:
        entry["row"] = raw.decode()
    except UnicodeDecodeError:
        entry |= {"row": raw.decode("latin-1"), "encoding": "latin-1"}
    return orjson.dumps(entry) + b"\n"


def _malformed(value: str, remedy: str) -> Finding:
    return Finding("malformed", "reject", value, remedy)


def _why_no_json(raw: bytes, error: orjson.JSONDecodeError) -> tuple[str, str]:
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8: byte 0x{raw[wrong.start]:02x} at {wrong.start}", REMEDIES["encoding"]
    return f"not JSON: {error}", REMEDIES["malformed"]


def _stop_if_unfit(tally: Tally, summary: dict[str, Any], config: ValidateConfig, files: list[Path]) -> None:
    source = files[0].name + (f" and {len(files) - 1} other files" if len(files) > 1 else "")
    if not tally.read:
        raise UserError(f"{source}: no rows", "give at least one row of JSON")
    found = f"{tally.rejected:,} of {tally.read:,} rows rejected ({tally.reject_share:.1%})"
    if not tally.clean:
        raise UserError(f"{source}: no usable row\n{found}:\n{rejections(summary)}", "mend the rows as said above")
    if tally.reject_share > config.max_reject_share:
        raise UserError(
            f"{source}: {found}, and max_reject_share is {config.max_reject_share:.1%}:\n{rejections(summary)}",
            "mend the rows as said above; or set a rule to warn or off; or raise max_reject_share, to go on without "
            "these rows and have each of them in quarantine.jsonl",
        )
