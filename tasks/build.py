"""build: triplets become a dataset to train on and questions to evaluate on."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile

import orjson
from pydantic import Field, PositiveInt

from tasks.dataset.folder import save
from tasks.dataset.near_duplicates import NearDuplicates
from tasks.dataset.overflow import fit
from tasks.dataset.packing import pack
from tasks.dataset.refusal import refusal_of
from tasks.dataset.sequences import Sequences
from tasks.dataset.split import Side, documents, split
from tasks.dataset.statistics import Tally, markdown, tokens
from tasks.errors import UserError
from tasks.model import load_tokenizer
from tasks.prompts import Prompt
from tasks.triplets import Triplet, TripletWriter, read_triplets
from tasks.versioning import Config, step

BATCH = 1_000  # rows at a time


class BuildConfig(Config):
    """How rows are split, fit to the model's length, and packed."""

    max_tokens: PositiveInt = Field(1024, description="Tokens of a sequence: four passages and an answer.")
    answer_room: PositiveInt = Field(
        64, description="Tokens kept free in an evaluation prompt for the answer; answer.max_new_tokens or more."
    )
    max_overflow_share: float = Field(
        0.1, ge=0, le=1, description="Stop when more of the rows than this do not fit max_tokens with their evidence."
    )
    packing: bool = Field(True, description="Several rows in one sequence, each seeing itself alone.")
    evaluation_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the documents to evaluate on, where data.evaluation names no file."
    )
    heldout_share: float = Field(
        0.05, ge=0, lt=1, description="Share of the training documents held out to watch the loss while training."
    )
    salt: str = Field("reground", description="Another salt splits the documents in another way.")
    seed: int = Field(42, ge=0, description="Order of rows and sequences.")
    near_duplicate_drop: float = Field(
        0.80, gt=0, le=1, description="Training rows this similar to an evaluation row in context are left out."
    )
    near_duplicate_warn: float = Field(0.50, gt=0, le=1, description="And this similar ones are reported.")


@step(libraries=("datasets", "jinja2", "numpy", "pyarrow", "PyStemmer", "tokenizers", "transformers"))
def build(
    config: BuildConfig, *, rows: Path, evaluation: Path | None = None, base: Path, template: Path, out: Path
) -> None:
    """Split the validated `rows` by document, render them with `template`, tokenise with `base`'s tokenizer, and pack.

    Writes out/train/ and out/heldout/, which `datasets.load_from_disk` opens: input_ids, labels (-100 on the prompt)
    and seq_lengths; out/heldout/ has no rows where there is but one document to train on. out/evaluation/rows.arrow
    holds triplets and depends on the evaluation rows alone. All rows of `evaluation`, a validated source of its own,
    are evaluated on where it is given. out/quarantine.jsonl names each row left out and why; out/report.json and
    out/report.md count tokens.

    Raises UserError where no row is left to train or to evaluate on, or too many do not fit.
    """
    from tqdm import tqdm

    source = rows / "rows.arrow"
    questions = evaluation / "rows.arrow" if evaluation else source
    counted = documents(source)
    sides = split(
        counted,
        evaluation_share=config.evaluation_share,
        heldout_share=config.heldout_share,
        salt=config.salt,
        evaluation_documents=frozenset(documents(questions)) if evaluation else None,
    )

    def evaluated() -> Iterator[Triplet]:
        return (row for row in read_triplets(questions) if evaluation or sides[row.document] == "evaluation")

    tokenizer = load_tokenizer(base)
    with ExitStack() as files:
        tally = Tally(files.enter_context((out / "quarantine.jsonl").open("wb")))
        prompt = Prompt.load(template, tokenizer, refusal_of(evaluated()))
        _write_evaluation(config, evaluated(), prompt, tally, out / "evaluation")

        prompt = Prompt.load(template, tokenizer, refusal_of(read_triplets(source)))
        known, ids = NearDuplicates(map(_contexts, _batches(evaluated()))), [row.id for row in evaluated()]
        # Scratch files without a name: a killed process leaves none behind.
        encoded = {side: Sequences(files.enter_context(TemporaryFile(dir=out))) for side in ("train", "heldout")}
        bar = files.enter_context(tqdm(desc="build", unit="row", total=counted.total(), disable=None))
        for batch in _batches(read_triplets(source)):
            fresh = _without_leaks(config, batch, sides, known, ids, tally)
            for side, sequences in encoded.items():
                fitted = fit([row for row in fresh if sides[row.document] == side], prompt, limit=config.max_tokens)
                sequences.append(fitted.prompts, fitted.completions)
                tally.fitted(side, fitted, config.max_tokens)
            bar.update(len(batch))
        _stop_if_too_long(config, tally)
        _stop_if_none(tally)
        packed = {
            side: pack(sequences.lengths, config.max_tokens, packing=config.packing, seed=config.seed)
            for side, sequences in encoded.items()
        }
        for side, sequences in encoded.items():
            save(sequences, packed[side], out / side)
        report = tally.report() | tokens(encoded["train"], len(packed["train"]), config.max_tokens)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    (out / "report.json").write_bytes(orjson.dumps(report, option=options) + b"\n")
    (out / "report.md").write_text(markdown(report), encoding="utf-8")


def _write_evaluation(config: BuildConfig, rows: Iterable[Triplet], prompt: Prompt, tally: Tally, folder: Path) -> None:
    folder.mkdir()
    with TripletWriter(folder / "rows.arrow") as written:
        for batch in _batches(rows):
            fitted = fit(batch, prompt, limit=config.max_tokens, room=config.answer_room)
            tally.fitted("evaluation", fitted, config.max_tokens)
            for row in fitted.rows:
                written.add(row)


def _without_leaks(
    config: BuildConfig,
    rows: list[Triplet],
    sides: dict[str, Side],
    known: NearDuplicates,
    ids: list[str],
    tally: Tally,
) -> list[Triplet]:
    """The rows to train on or to hold out that are not, nearly, evaluated on."""
    candidates = []
    for row in rows:
        side = sides[row.document]
        if side == "leak":
            tally.leave_out(row, "leak", f"{row.document} is a document of the evaluation rows")
        elif side != "evaluation":
            candidates.append(row)
    fresh = []
    for row, jaccard, place in zip(candidates, *known.nearest(_contexts(candidates)), strict=True):
        if jaccard >= config.near_duplicate_drop:
            tally.leave_out(row, "near_duplicate", f"{jaccard:.2f} like evaluation row {ids[place]}")
            continue
        if jaccard >= config.near_duplicate_warn:
            tally.similar(row, float(jaccard), ids[place])
        fresh.append(row)
    return fresh


def _stop_if_too_long(config: BuildConfig, tally: Tally) -> None:
    """Refuse a limit that most of the data would be lost to; a model trained on the short rest misleads."""
    too_long, rows = sorted(tally.overflows), sum(tally.rows.values()) + len(tally.overflows)
    if len(too_long) > config.max_overflow_share * rows:
        median, longest = too_long[len(too_long) // 2], too_long[-1]
        raise UserError(
            f"{len(too_long):,} of {rows:,} rows do not fit build.max_tokens {config.max_tokens:,}, even with their "
            f"evidence alone; half of those need more than {median:,}, the longest {longest:,}",
            "raise build.max_tokens within the model's window, shorten the passages, or raise build.max_overflow_share",
        )


def _stop_if_none(tally: Tally) -> None:
    reasons = ", ".join(f"{count:,} {rule}" for rule, count in tally.left_out.items() if count)
    for side, purpose in (("train", "train"), ("evaluation", "evaluate")):
        if not tally.rows[side]:
            raise UserError(
                f"no row is left to {purpose} on" + (f"; left out: {reasons}" if reasons else ""),
                "add rows; train and evaluation rows must come from different documents and fit build.max_tokens",
            )


def _contexts(rows: Iterable[Triplet]) -> list[str]:
    return ["\n".join(row.context) for row in rows]


def _batches(rows: Iterable[Triplet]) -> Iterator[list[Triplet]]:
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch
