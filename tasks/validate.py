"""Validate: rows of JSON lines in, triplets fit to learn from out, and a reason for every row left behind."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import chain
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import Field

from tasks.data.examine import SKETCH, RowConfig, examine_shard, repeated, repeats
from tasks.data.forms import AS_GIVEN, RowFormat
from tasks.data.names import FILE as FORMS
from tasks.data.pages import FOLDER, VALIDATION
from tasks.data.rules import Finding, Rules
from tasks.data.shards import CHECKSUMS, Seen, SeenShard, Shard, cut
from tasks.data.triplets import LEFT_OUT, parse_triplets
from tasks.data.validation_report import Tally, markdown, rejections
from tasks.engine.errors import UserError
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.parts import Part, Parts, Piece, noted
from tasks.engine.progress import Progress
from tasks.engine.step import Config, Text, step
from tasks.text import AUTO, LANGUAGE_FILES, TEXT_LIBRARIES

if TYPE_CHECKING:
    import numpy as np


class ValidateSettings(Config):
    """What counts as a row fit to learn from."""

    language: Text = Field(
        AUTO, description="ISO 639-1 code of the rows that name none in their field `language`; auto: told row by row"
    )
    refusal: Annotated[Text, Field(min_length=1)] | None = Field(
        None, description="The one sentence that answers what the context does not; null: that of the row's language"
    )
    empty_answer: Literal["refuse", "reject"] = Field(
        "refuse", description="An empty answer becomes the refusal sentence, with a warning, or is rejected"
    )
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="More rejected rows than this share stop the run; dropped duplicates do not count"
    )
    rules: Rules = Rules()


class ValidateConfig(ValidateSettings):
    """These settings, and how the rows that they are for are read."""

    form: RowFormat = AS_GIVEN

    @property
    def by_row(self) -> RowConfig:
        return RowConfig(self.rules, self.refusal, self.empty_answer, self.language, self.form)


@step(
    libraries=("ftfy", "jinja2", "numpy", "orjson", "pyarrow", *TEXT_LIBRARIES),
    resources=(f"{FOLDER}/{VALIDATION}", FORMS, *LANGUAGE_FILES),
    parts=("rows",),
)
def validate(
    config: ValidateConfig,
    *,
    rows: list[Path],
    out: Path,
    earlier: Sequence[Path] = (),
    work: Path | None = None,
    mapper: Mapper = map_serial,
) -> dict[str, float]:
    """Write the clean rows of the files, in order, to `out`/rows/, with a report of the others.

    Rows are examined in shards, each by itself and once: an edit costs the shard around it. `rows/` has the triplets of
    each shard, and in left_out.json those that repeat a row of any shard, as the sketches in `sketches/` show.
    `source/` has the checksums of the rows read, for `Rows.change`. `quarantine.jsonl` holds every row left out, with
    its file, line, rule, value, remedy and text; `report.json` and `report.md` count and show examples. Memory holds
    90 bytes a row.

    UserError where more than `max_reject_share` are rejected, or none is left.
    """
    import numpy as np

    parts = Parts(out, earlier, work, mapper)
    by_row = config.by_row
    source, tally = _Source(rows), Tally()
    seen = {each["digest"]: Seen(**each) for shards in noted(cut, earlier) for each in shards}

    def piece(shard: Shard | SeenShard) -> Piece:
        return Piece([shard.digest, by_row.given], lambda: (shard.rows, by_row))

    examined: list[Part] = []
    with Progress("validate") as bar:
        for number, part in enumerate(parts.map(examine_shard, map(piece, source.cut(seen.values())))):
            parts.link_into(
                part,
                rows=f"rows/{number:05}.arrow",
                sketch=f"sketches/{number:05}",
                rejected=f"rejected/{number:05}.jsonl",
                checksums=f"{CHECKSUMS}/{source.digests[number]}",
            )
            examples = [each for counts in part.facts["found"].values() for each in counts["examples"]]
            tally.shard(part.facts, [source.place(number, each["number"]) for each in examples])
            examined.append(part)
            bar.update(part.facts["read"])
    sketches = [np.fromfile(part.files["sketch"], SKETCH) for part in examined]
    _write(out, parts, source, examined, sketches, _repeated_rows(config.rules, source, sketches), tally)
    parts.note(cut, source.seen)
    parts.write()
    summary = tally.summary(config.rules)
    _stop_if_unfit(tally, summary, config, rows)
    (out / "report.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    (out / "report.md").write_text(markdown(summary), encoding="utf-8")
    return parts.counts


class _Source:
    """The files, and where each row of each shard stands in them: 4 bytes a row."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.digests: list[str] = []
        self.seen: list[Seen] = []  # of the shards that can be known again
        self._places: list[tuple[Sequence[int], list[tuple[int, int]]]] = []

    def cut(self, seen: Iterable[Seen]) -> Iterator[Shard | SeenShard]:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(import_module, "pandas")  # .35 s; pyarrow does at the first array of a list
            before: Shard | SeenShard | None = None
            for shard in chain(cut(self.files, seen), [None]):
                if shard:
                    pool.submit(attrgetter("seen"), shard)  # hashes it while the next one is read
                if before:
                    self.digests.append(before.digest)
                    self.seen += filter(None, [before.seen])
                    self._places.append((before.lines, before.files))
                    yield before
                before = shard

    def place(self, shard: int, number: int) -> tuple[str, int]:
        """File name and line of a row."""
        lines, starts = self._places[shard]
        index = next(index for first, index in reversed(starts) if first <= number)
        return self.files[index].name, lines[number]


class _RepeatedRow(NamedTuple):
    number: int  # of the row among those of its shard that passed
    finding: Finding


def _repeated_rows(rules: Rules, source: _Source, sketches: "list[np.ndarray]") -> dict[int, list[_RepeatedRow]]:
    """By shard, what the rules across rows find."""
    import numpy as np

    every = np.concatenate([np.zeros(0, SKETCH), *sketches])
    starts = np.cumsum([0, *map(len, sketches)])

    def where(row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(starts, row, "right")) - 1
        return shard, row - int(starts[shard])

    found: dict[int, list[_RepeatedRow]] = {}
    for repeat in repeats(every):
        first, at = where(repeat.first)
        file, line = source.place(first, int(sketches[first]["number"][at]))
        for finding in repeated(rules, repeat.rule, f"{file}:{line}"):
            shard, number = where(repeat.row)
            found.setdefault(shard, []).append(_RepeatedRow(number, finding))
    return found


def _write(
    out: Path,
    parts: Parts,
    source: _Source,
    examined: list[Part],
    sketches: "list[np.ndarray]",
    repeated_rows: dict[int, list[_RepeatedRow]],
    tally: Tally,
) -> None:
    """Write quarantine and left_out.json, and count the rows that stay."""
    import numpy as np

    def quoting(shard: int) -> Piece:
        path, numbers = examined[shard].files["rows"], [each.number for each in repeated_rows[shard]]
        return Piece([examined[shard].digests["rows"], numbers], lambda: (path.read_bytes(), numbers))

    quotes = parts.map(quote, map(quoting, repeated_rows), mapper=map_serial)
    gone: dict[str, list[int]] = {}
    with (out / "quarantine.jsonl").open("wb") as quarantine:
        for shard, (part, sketch) in enumerate(zip(examined, sketches, strict=True)):
            stay = np.ones(len(sketch), bool)
            entries = []
            if "rejected" in part.files:
                entries = list(map(orjson.loads, part.files["rejected"].open("rb")))
            if shard in repeated_rows:
                quoted = next(quotes)
                parts.link_into(quoted, rows=f"repeated/{shard:05}.jsonl")
                lines = quoted.files["rows"].read_bytes().splitlines()
                # A row may be repeated by its text and by its id, and is quoted once.
                texts = dict(zip(sorted({each.number for each in repeated_rows[shard]}), lines, strict=True))
                for number, finding in repeated_rows[shard]:
                    text = texts[number]
                    at = int(sketch["number"][number])
                    tally.across(finding, orjson.loads(text)["query"], source.place(shard, at))
                    sketch["warned"][number] = True
                    if finding.level == "reject":
                        stay[number] = False
                        reason = {"rule": finding.rule, "value": finding.value, "remedy": finding.remedy}
                        entries.append({"number": at} | reason | {"row": text.decode()})
            for entry in sorted(entries, key=itemgetter("number")):
                file, line = source.place(shard, entry.pop("number"))
                quarantine.write(orjson.dumps({"file": file, "line": line} | entry) + b"\n")
            if not stay.all():
                gone[f"{shard:05}.arrow"] = np.flatnonzero(~stay).tolist()
            tally.kept(sketch[stay])
    if gone:
        (out / "rows" / LEFT_OUT).write_bytes(orjson.dumps(gone))


def quote(rows: bytes, numbers: list[int]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """These triplets of a shard as lines of JSON."""
    asked = set(numbers)
    lines = [orjson.dumps(row._asdict()) for at, row in enumerate(parse_triplets(rows)) if at in asked]
    return {"rows": b"\n".join(lines) + b"\n"}, {}


def _stop_if_unfit(tally: Tally, summary: dict[str, Any], config: ValidateConfig, files: list[Path]) -> None:
    source = files[0].name + (f" and {len(files) - 1} other files" if len(files) > 1 else "")
    if not tally.rows["read"]:
        raise UserError(f"{source}: no rows", "give at least one row of JSON")
    found = f"{tally.rows['rejected']:,} of {tally.rows['read']:,} rows rejected ({tally.reject_share:.1%})"
    if not tally.rows["clean"]:
        raise UserError(f"{source}: no usable row\n{found}:\n{rejections(summary)}", "mend the rows as said above")
    if tally.reject_share > config.max_reject_share:
        raise UserError(
            f"{source}: {found}, and max_reject_share is {config.max_reject_share:.1%}:\n{rejections(summary)}",
            "mend the rows as said above; or set a rule to warn or off; or raise max_reject_share, to go on without "
            "these rows and have each of them in quarantine.jsonl",
        )
