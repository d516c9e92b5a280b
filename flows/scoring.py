"""`reground score`: every metric of the answers in a file, whoever gave them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.table import Table

from tasks.data.forms import AS_GIVEN, RowFormat, no_form
from tasks.data.readers import expand, read_lines
from tasks.engine.errors import UserError
from tasks.engine.progress import Progress
from tasks.evaluation.metrics import METRICS, Row
from tasks.evaluation.metrics.correctness import outcome
from tasks.evaluation.metrics.plain import faithfulness, sentences_faithfulness
from tasks.text import ContextView, detect, is_refusal, refusal_sentence
from tasks.text.thoughts import split_thought

WRITE = 'write {"query": "…", "context": "…" or ["…", "…"], "answer": "…"} on one line, with "reference" if it is known'
RESPONSES = (
    "response",
    "prediction",
    "output",
    "answer",
)  # what a system answered, where rows have the right answer too
ABSTENTION = {"abstention_f1", "abstention_recall", "abstention_precision", "over_refusal"}


class Answered(BaseModel):
    """One line of the file. Other fields than these are passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    query: str
    context: str | list[str] = Field(description="One text, or the passages.")
    answer: str
    id: str | int | None = Field(None, description="Without one, the line's number.")
    language: str | None = Field(
        None, description="ISO 639-1 code of the context's language; without it: told from it."
    )
    reference: str | list[str] | None = Field(None, description="The right answer, or several.")
    aliases: list[str] = Field([], description="Other right answers.")
    should_abstain: bool | None = Field(
        None, description="The context holds no answer. Without it: the reference is empty or a refusal."
    )
    value: str | None = Field(None, description="What a right answer contains.")
    truncated: bool | None = Field(None, description="The answer was cut off.")

    def row(self, refusal: str | None, language: str | None = None) -> Row:
        passages = [self.context] if isinstance(self.context, str) else self.context
        code = self.language or language or detect(*passages[:1], self.query)
        context = ContextView(passages, code)
        return Row(
            query=self.query,
            context=context,
            answer=split_thought(self.answer)[1],
            reference=self.references[0] if self.references else "",
            aliases=tuple(self.references[1:]),
            should_abstain=bool(self.unanswerable(refusal, context)),
            value=self.value,
            refusal=refusal_sentence(code, refusal),
            truncated=bool(self.truncated),
        )

    @property
    def references(self) -> list[str]:
        given = [self.reference] if isinstance(self.reference, str) else self.reference or []
        return [*given, *self.aliases]

    def unanswerable(self, refusal: str | None, context: ContextView) -> bool | None:
        """Whether a refusal is the right answer, which what the context says itself is none; None if nobody says so."""
        if self.should_abstain is not None or self.reference is None:
            return self.should_abstain
        first = next(filter(str.strip, self.references), "")
        return not first or is_refusal(first, refusal, context)


class Mean(NamedTuple):
    name: str
    value: float | None
    rows: int  # for which the metric applies


def score_file(
    source: str,
    out: Path | None = None,
    refusal: str | None = None,
    language: str | None = None,
    form: RowFormat = AS_GIVEN,
) -> list[Mean]:
    """Score the rows of JSONL files and write one line of JSON for each, to `out` or the standard output.

    `language`: ISO 639-1 code of the rows that name none; `form`: what their fields are called.

    A line has: id; metrics (name → number, null where it does not apply); abstained; outcome (right, wrong, refused
    rightly or refused wrongly; null if nobody says what is right); support
    (`tasks.evaluation.metrics.plain.faithfulness`, a number for refusals too); sentences, each with its support; and
    the numbers and names that the answer claims and the context does not hold.
    Returns each metric's weighted mean and row count.

    Raises UserError with file and line for a row that cannot be read; `out` is then as it was.
    """
    measured = {name: metric for name, metric in METRICS.items() if metric.level == "row"}
    totals = {name: [0.0, 0.0, 0] for name in measured}  # weighted sum, weights, rows
    with _output(out) as file:
        for name, given in Progress("score").over(_read(source, form)):
            row = given.row(refusal, language)
            unknown = ABSTENTION if given.unanswerable(refusal, row.context) is None else set()
            unknown = unknown | ({"truncated"} if given.truncated is None else set())
            values = {each: None if each in unknown else metric.measure(row) for each, metric in measured.items()}
            file.write(orjson.dumps(_line(name, given, row, values), option=orjson.OPT_APPEND_NEWLINE))
            for each, value in values.items():
                if value is not None:
                    weigh = measured[each].weight
                    weight = weigh(row) if weigh else 1.0
                    added = (weight * value, weight, 1)
                    totals[each] = [total + more for total, more in zip(totals[each], added, strict=True)]
    return [Mean(name, total / weight if weight else None, int(rows)) for name, (total, weight, rows) in totals.items()]


def show(means: list[Mean]) -> None:
    """The means as a table, on the standard error, so that the standard output holds JSON alone."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("metric", "mean", "rows"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    arrows = {"higher": " ↑", "lower": " ↓", "none": ""}
    for name, value, rows in means:
        metric = METRICS[name]
        table.add_row(metric.label + arrows[metric.direction], "–" if value is None else f"{value:.3f}", f"{rows:,}")
    Console(stderr=True, width=None if sys.stderr.isatty() else 100).print(table)


def _line(name: str, given: Answered, row: Row, values: dict[str, float | None]) -> dict[str, Any]:
    supports = sentences_faithfulness(given.query, given.context, given.answer)
    return {
        "id": name,
        "metrics": values,
        "abstained": row.abstained,
        "outcome": None if given.unanswerable(row.refusal, row.context) is None else outcome(row),
        "support": faithfulness(given.query, given.context, given.answer),
        "sentences": [{"text": text, "support": support} for text, support in supports],
        "absent_numbers": row.unsupported_numbers,
        "absent_names": row.unsupported_entities,
    }


def _renamed(line: bytes, form: RowFormat) -> bytes:
    """A line by our names. Of a format's right answer and a response beside it, the latter is the answer."""
    row = orjson.loads(line)
    if not isinstance(row, dict):
        return line
    found = row | form.renamed(row)
    said = next((row[name] for name in RESPONSES if isinstance(row.get(name), str)), None)
    if "answer" not in form.fields and said not in (None, found.get("answer")):
        found = {"reference": found.get("answer")} | found | {"answer": said}
    return orjson.dumps(found)


def _read(source: str, form: RowFormat) -> Iterator[tuple[str, Answered]]:
    """The rows with their ids. Raises UserError for a line that is not one, and if there is none."""
    where = ""
    for path in expand(source):
        for number, line in read_lines(path):
            where = f"{path.name}:{number}"
            try:
                given = Answered.model_validate_json(_renamed(line, form) if form != AS_GIVEN else line)
            except orjson.JSONDecodeError as error:
                raise UserError(f"{where}: the line: {error}", WRITE) from None
            except ValidationError as error:
                first = error.errors()[0]
                if first["type"] == "missing":
                    what, remedy = no_form(orjson.loads(line))
                    raise UserError(f"{where}: {what}", remedy) from None
                field = ".".join(str(each) for each in first["loc"][:1]) or "the line"
                raise UserError(f"{where}: {field}: {first['msg']}", WRITE) from None
            yield (where if given.id is None else str(given.id)), given
    if not where:
        raise UserError(f"{source}: no rows", WRITE)


@contextmanager
def _output(out: Path | None) -> Iterator[BinaryIO]:
    """Where lines go. A file gets its name when all are written, so that it is never half of them."""
    if out is None:
        yield sys.stdout.buffer
        return
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error}", "name a file in a folder that you may write to") from None
    finally:
        part.unlink(missing_ok=True)
