"""slices: the evaluation questions made harder in one respect each, to see what the answers stand."""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from pydantic import Field, PositiveInt

from tasks.data.dataset.vocabulary import read_vocabulary
from tasks.data.triplets import Triplet, TripletWriter, read_triplets, refusal_of
from tasks.engine import Config, step
from tasks.engine.errors import UserError
from tasks.evaluation.slicing import SLICES, Question, Slice, SliceRow, Unfit
from tasks.evaluation.slicing.question import Nearest, draw, holding
from tasks.prompts import Prompt, PromptConfig, Vocabulary
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES, refusal_sentence

REACH = 10  # rows looked at for each that a slice may have: not every row makes every slice
PASSAGES = 32  # of other documents, kept for a question
VALUES = 8


class SlicesConfig(Config):
    """How many questions are made harder, and how long they may get."""

    rows_per_slice: PositiveInt = Field(
        10,
        description="Most questions of a slice. With 10, answering the sample's slices costs about half of what its "
        "plain evaluation does, and shows only what breaks; intervals of ±.10 take some 100, of ±.05 some 400.",
    )
    max_tokens: PositiveInt = Field(1024, description="Tokens of prompt and answer; build.max_tokens or less.")
    answer_room: PositiveInt = Field(
        64, description="Tokens kept free in a prompt for the answer; answer.max_new_tokens or more."
    )
    salt: str = Field("reground", description="Another salt chooses other questions, passages and values.")
    prompt: PromptConfig = PromptConfig()


@dataclass
class _Collected:
    """The rows of a slice, and how many questions were left out, by reason."""

    made: list[SliceRow] = field(default_factory=list)
    added: list[int] = field(default_factory=list)  # passages of each row beyond those that it had untouched
    left_out: Counter[str] = field(default_factory=Counter)


@step(
    libraries=("jinja2", "numpy", "pyarrow", *TEXT_LIBRARIES, "tokenizers", "transformers"),
    resources=LANGUAGE_FILES,
    parts=("rows",),
)
def slices(config: SlicesConfig, *, rows: Path, base: Path, template: Path | None = None, out: Path) -> None:
    """Make the slices of `SLICES` from the evaluation triplets in the folder `rows`.

    Which rows are taken, and what is done to them, is drawn from their ids and the salt: of a set that grows, a row's
    slices stay as they are, but for distractors and swapped-in words where a new document is among those most like its
    question (`tasks.evaluation.slicing.question`), and for rows that others push out of a full slice. Prompts are
    measured with `base`'s tokenizer; what does not fit is left out.

    Writes out/rows/<slice>.arrow, triplets with ids ``<slice>:<id of the row>``; where a slice invites a wrong answer,
    out/rows/<slice>-<wrong>.arrow, the same prompts with that answer for the right one, so that `contains_value` of
    their scores is the share that gave it (a prompt is answered once, however often it is asked); and out/report.json:
    per slice its rows, how many passages were added to each and what share of all they are (`added`, `added_share`:
    median and least), and how many rows were left out and why.

    Raises UserError if not one row of one slice can be made.
    """
    refusal = refusal_of(rows)
    prompt = Prompt.load(config.prompt, _vocabulary(base), refusal, template)
    questions = list(_questions(config, rows, prompt, refusal))
    made = {name: _make(each, questions, config.rows_per_slice) for name, each in SLICES.items()}
    (out / "rows").mkdir()
    for name, slice_ in made.items():
        _write(out / "rows", name, slice_.made, refusal)
    summaries = {name: _summary(SLICES[name], slice_, prompt) for name, slice_ in made.items()}
    if not any(slice_.made for slice_ in made.values()):
        reasons = Counter(reason for slice_ in made.values() for reason in slice_.left_out.elements())
        why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3)) or "there are no rows"
        raise UserError(f"no slice can be made of {rows}: {why}", "add evaluation rows, or raise slices.max_tokens")
    report = {"slices": summaries, "settings": config.model_dump(exclude={"prompt"})}
    (out / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")


def _vocabulary(base: Path) -> Vocabulary:
    from tokenizers import Tokenizer

    files, _ = read_vocabulary(base)
    return Vocabulary(**orjson.loads(files["rest"]) | {"backend": Tokenizer.from_str(files["tokenizer"].decode())})


def _questions(config: SlicesConfig, rows: Path, prompt: Prompt, refusal: str | None) -> Iterator[Question]:
    """The rows whose ids draw the lowest lots, in that order, each with what of all rows is most like it."""

    def lot(row: Triplet) -> tuple[int, str]:
        return draw(config.salt, row.id), row.id

    chosen = heapq.nsmallest(REACH * config.rows_per_slice, read_triplets(rows), key=lot)
    passages = Nearest(chosen, salt=config.salt, most=PASSAGES)
    values = Nearest(chosen, salt=config.salt, most=VALUES)
    for row in read_triplets(rows):
        for at in holding(row):  # of the others nobody says which document they are from
            passages.offer(row.document, row.context[at], row.context[at])
        if row.value and not any(map(str.isdigit, row.value)):
            values.offer(row.document, row.query, row.value)
    tokens = config.max_tokens - config.answer_room
    for at, row in enumerate(chosen):
        yield Question(
            row, passages.of(at), values.of(at), refusal_sentence(row.language, refusal), prompt, tokens, config.salt
        )


def _make(slice_: Slice, questions: list[Question], most: int) -> _Collected:
    """The first `most` rows that can be made."""
    found = _Collected()
    for question in questions:
        if len(found.made) == most:
            break
        if question.row.refusal and not slice_.unanswerable:
            continue
        try:
            made = slice_.make(question)
            if not question.fits(made.row.context):
                raise Unfit("the prompt does not fit max_tokens")
            found.made.append(made)
            found.added.append(len(made.row.context) - len(question.row.context))
        except Unfit as why:
            found.left_out[str(why)] += 1
    return found


def _write(folder: Path, name: str, made: list[SliceRow], refusal: str | None) -> None:
    wrong = SLICES[name].wrong
    files = {name: [each.row for each in made]}
    if wrong:
        files[f"{name}-{wrong.name}"] = [each.wrong for each in made if each.wrong]
    for file, rows in files.items():
        if rows:
            with TripletWriter(folder / f"{file}.arrow", refusal) as writer:
                for row in rows:
                    writer.add(row._replace(id=f"{file}:{row.id}"))


def _summary(slice_: Slice, found: _Collected, prompt: Prompt) -> dict[str, Any]:
    rows = [made.row for made in found.made]
    lengths = prompt.encode_prompts([row.asked for row in rows]).lengths
    shares = [added / len(row.context) for added, row in zip(found.added, rows, strict=True)]
    return {
        "label": slice_.label,
        "rows": len(rows),
        "documents": len({row.document for row in rows}),
        "left_out": dict(found.left_out.most_common()),
        "added": _middle_and_least(found.added),
        "added_share": _middle_and_least(shares),
        "passages": round(sum(len(row.context) for row in rows) / len(rows), 2) if rows else None,
        "prompt_tokens": round(float(lengths.mean()), 1) if rows else None,
    }


def _middle_and_least(values: Sequence[float]) -> dict[str, float] | None:
    """Of what was to be done, what was: passages are added as far as they fit."""
    return {"median": round(median(values), 2), "least": round(min(values), 2)} if values else None
