"""build: triplets become a dataset to train on and questions to evaluate on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import orjson
from pydantic import Field, PositiveInt

from tasks.data.dataset.encode import Assignment, Limits, encode
from tasks.data.dataset.folder import Lengths, finish, is_known, same_beginnings
from tasks.data.dataset.near_duplicates import NearDuplicates, near
from tasks.data.dataset.packing import pack_apart
from tasks.data.dataset.sketch import Documents, Sketch, sketch
from tasks.data.dataset.split import EVALUATION, SIDES, shared_passages, split
from tasks.data.dataset.statistics import Tally, tokens
from tasks.data.dataset.vocabulary import vocabulary
from tasks.data.pages import BUILD, FOLDER, render
from tasks.data.triplets import Triplet, files_of, left_out, parse_triplets, refusal_of
from tasks.engine import Config, Text, step
from tasks.engine.digests import digests
from tasks.engine.errors import UserError
from tasks.engine.inputs import sha256_json
from tasks.engine.mapper import Mapper, map_serial
from tasks.engine.parts import Part, Parts, Piece
from tasks.engine.progress import Progress
from tasks.prompts import Prompt, PromptConfig
from tasks.text import LANGUAGE_FILES, TEXT_LIBRARIES, language_digests

if TYPE_CHECKING:
    import numpy as np


class BuildSettings(Config):
    """How rows are split, fit to the model's length, and packed."""

    max_tokens: PositiveInt = Field(1024, description="Tokens of a sequence: four passages and an answer.")
    answer_room: PositiveInt = Field(
        64, description="Tokens kept free in an evaluation prompt for the answer; answer.max_new_tokens or more."
    )
    max_overflow_share: float = Field(
        0.1, ge=0, le=1, description="Stop when more of the rows than this do not fit max_tokens with their evidence."
    )
    packing: bool = Field(True, description="Several rows in one sequence, each seeing itself alone.")
    share_beginnings: bool = Field(
        False,
        description="Pack rows about the same passages together, behind one copy of them: with six questions a passage "
        "a step takes a third of the time, and the same gradient. Its rows are then about fewer passages.",
    )
    refusal_share: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of refusals among the training rows: what is too many of them, or of the others, is left "
        "out. Many teach a small model to refuse always. Without it as they come.",
    )
    evaluation_share: float = Field(
        0.2, gt=0, lt=1, description="Share of the documents to evaluate on, where data.evaluation names no file."
    )
    heldout_share: float = Field(
        0.05, ge=0, lt=1, description="Share of the training documents held out to watch the loss while training."
    )
    salt: Text = Field("reground", description="Another salt splits the documents in another way.")
    seed: int = Field(42, ge=0, description="Order of rows and sequences.")
    near_duplicate_drop: float = Field(
        0.80, gt=0, le=1, description="Training rows this similar to an evaluation row in context are left out."
    )
    near_duplicate_warn: float = Field(0.50, gt=0, le=1, description="And this similar ones are reported.")


class BuildConfig(BuildSettings):
    """With what the prompts say, filled in by the flow."""

    prompt: PromptConfig = PromptConfig()
    loss_on: Literal["answer", "turns"] = "answer"  # train.loss_on


@step(
    libraries=("jinja2", "numpy", "pyarrow", *TEXT_LIBRARIES, "tokenizers", "transformers"),
    resources=(f"{FOLDER}/{BUILD}", *LANGUAGE_FILES),
    parts=("train", "heldout", "evaluation"),
)
def build(
    config: BuildConfig,
    *,
    rows: Path,
    evaluation: Path | None = None,
    known: Path | None = None,
    base: Path,
    template: Path | None = None,
    out: Path,
    earlier: Sequence[Path] = (),
    work: Path | None = None,
    mapper: Mapper = map_serial,
) -> dict[str, float]:
    """Split the validated `rows` by document, render them by `base`'s chat template or `template`, tokenise, and pack.

    Works on the shards that `rows` comes in: each is sketched and encoded once; what goes across shards (sides, leaks,
    near-duplicates, packing) comes from the sketches and the lengths. Writes out/train/ and out/heldout/, which
    `tasks.data.dataset.folder.load` opens; heldout/ has no rows where there is but one document to train on.
    out/evaluation/ holds triplets and depends on the evaluation rows alone; where `evaluation` is given, a validated
    source of its own, on all of its rows. out/quarantine.jsonl names each row left out and why;
    out/report.json and out/report.md count tokens. Memory holds some 50 bytes a row.

    Rows of `known`, the dataset that the champion was trained on, are packed apart, so that a warm start can choose how
    many of them to train on again.

    Raises UserError where no row is left to train or to evaluate on, or too many do not fit.
    """
    import numpy as np

    parts = Parts(out, earlier, work, mapper)
    reading = vocabulary(base, parts)
    source = _Source(rows, parts, config.salt)
    asked = _Source(evaluation, parts, config.salt, every=True) if evaluation else None
    sides = split(
        source.documents,
        evaluation_share=config.evaluation_share,
        heldout_share=config.heldout_share,
        evaluation=asked.documents if asked else None,
    )
    similar = _similar(config, parts, source, sides, asked)
    shared = shared_passages(source.documents, sides, asked.documents if asked else None)
    assignments = [
        Assignment(source.gone(path), "".join(map(str, on)), near, passages)
        for path, on, near, passages in zip(source.files, sides, similar, shared, strict=True)
    ]
    words, tally = reading(), Tally()
    with (out / "quarantine.jsonl").open("wb") as quarantine:
        encoding = _Encoding(config, parts, tally, quarantine)
        if asked:
            every = [
                Assignment(asked.gone(path), str(EVALUATION) * len(shard.names), [], [])
                for path, shard in zip(asked.files, asked.documents, strict=True)
            ]
            encoding.encode(asked, every, Prompt.load(config.prompt, words, refusal_of(asked.rows), template))
        encoding.encode(source, assignments, Prompt.load(config.prompt, words, refusal_of(source.rows), template))
    parts.write()
    _stop_if_too_long(config, tally)
    _stop_if_none(tally)
    report = tally.report(_documents(source, sides, asked))
    for side in ("train", "heldout"):
        lengths = Lengths.of(out / side)
        seen = np.zeros(len(lengths.wholes), bool)
        if known and side == "train":
            seen = is_known(out / side, known)
        groups = same_beginnings(out / side) if config.share_beginnings else None
        surplus = encoding.surplus(config) if side == "train" else np.zeros(0, np.int32)
        packed = pack_apart(
            lengths.wholes,
            seen,
            config.max_tokens,
            packing=config.packing,
            seed=config.seed,
            groups=groups,
            dropped=surplus,
        )
        finish(out / side, lengths, packed, seen[packed.rows[packed.ends - 1]], shared=groups is not None)
        if side == "train":
            if config.refusal_share is not None:
                report["rows"]["train"] -= surplus.size
                report["refusals"]["train"] -= int(np.isin(surplus, encoding.refusing).sum())
                report["left_out"]["refusal_share"] = surplus.size
            report |= tokens(Lengths(*(each[packed.rows] for each in lengths)), len(packed), config.max_tokens)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    (out / "report.json").write_bytes(orjson.dumps(report, option=options) + b"\n")
    (out / "report.md").write_text(render(BUILD, report), encoding="utf-8")
    return parts.counts


class _Source:
    """A folder of triplets in shards, each sketched."""

    def __init__(self, rows: Path, parts: Parts, salt: str, *, every: bool = False) -> None:
        self.rows, self.files = rows, files_of(rows)
        self.digests = [digests().of(path) for path in self.files]
        self._gone = left_out(rows)

        def piece(path: Path, digest: str) -> Piece:
            gone = self.gone(path)
            return Piece([digest, gone, salt, every], lambda: (path.read_bytes(), gone, salt, every))

        self.sketches = list(parts.map(sketch, map(piece, self.files, self.digests)))
        for part in self.sketches:
            parts.link_into(part, sketch=f"sketches/{part.given[:16]}.npz")
        self.documents = [Documents.read(part.files["sketch"]) for part in self.sketches]

    def gone(self, path: Path) -> list[int]:
        """Numbers of a shard's rows that `validate` left out for what other shards hold."""
        return self._gone.get(path.name, [])

    def kept(self, path: Path) -> Iterator[Triplet]:
        return parse_triplets(path.read_bytes(), self.gone(path))


def _similar(
    config: BuildConfig, parts: Parts, source: _Source, sides: "list[np.ndarray]", asked: _Source | None
) -> list[list[tuple[int, float, str]]]:
    """For each shard, the rows whose context is similar to that of an evaluation row: see `Assignment.near`."""
    import numpy as np

    held = asked or source
    chosen = []
    for shard, part in enumerate(held.sketches):
        on = Sketch.read(part.files["sketch"]).documents
        chosen.append(np.ones(len(on), bool) if asked else sides[shard][on] == EVALUATION)
    index = NearDuplicates(
        (Sketch.read(p.files["sketch"]), rows) for p, rows in zip(held.sketches, chosen, strict=True)
    )
    known = sha256_json([[p.digests, rows.tobytes().hex()] for p, rows in zip(held.sketches, chosen, strict=True)])

    def piece(part: Part) -> Piece:
        given = [part.digests, known, config.near_duplicate_warn]
        return Piece(given, lambda: (Sketch.read(part.files["sketch"]), index, config.near_duplicate_warn))

    # Not mapped over workers: the index is larger than a shard's sketch, and a query takes a few microseconds a row.
    found = list(parts.map(near, map(piece, source.sketches), mapper=map_serial))
    for part in found:
        parts.link_into(part)
    ids: list[str] = []
    if any(part.facts["near"] for part in found):
        for path, rows in zip(held.files, chosen, strict=True):
            ids += [row.id for row, is_held in zip(held.kept(path), rows, strict=True) if is_held]
    return [[(number, like, ids[row]) for number, like, row in part.facts["near"]] for part in found]


class _Encoding:
    """Encodes sources one after the other, and lays their shards side by side."""

    def __init__(self, config: BuildConfig, parts: Parts, tally: Tally, quarantine: IO[bytes]) -> None:
        self.limits = Limits(
            config.max_tokens, config.answer_room, config.near_duplicate_drop, config.loss_on == "turns"
        )
        self.parts, self.tally, self.quarantine = parts, tally, quarantine
        self._laid: Counter[str] = Counter()
        self.refusing: list[int] = []  # numbers of training rows

    def encode(self, source: _Source, assignments: list[Assignment], prompt: Prompt) -> None:
        refusal = refusal_of(source.rows)

        def piece(path: Path, digest: str, assignment: Assignment) -> Piece:
            given = [digest, list(assignment), prompt.digest, refusal, list(self.limits), language_digests()]
            return Piece(given, lambda: (path.read_bytes(), assignment, prompt, refusal, self.limits))

        rows = sum(part.facts["rows"] for part in source.sketches)
        with Progress("build", total=rows) as bar:
            pieces = map(piece, source.files, source.digests, assignments)
            for part, sketched in zip(self.parts.map(encode, pieces), source.sketches, strict=True):
                self._lay(part)
                bar.update(sketched.facts["rows"])

    def surplus(self, config: BuildConfig) -> "np.ndarray":
        """Training rows, by number, to leave out so that `refusal_share` of the rest refuse; drawn from the seed."""
        import numpy as np

        share = config.refusal_share
        kinds = np.isin(np.arange(self.tally.rows["train"]), self.refusing)
        refusals, others = np.flatnonzero(kinds), np.flatnonzero(~kinds)
        if share is None:
            return refusals[:0]
        most = round(others.size * share / (1 - share))
        if refusals.size > most or not share:
            rows, surplus = refusals, refusals.size - most
        else:
            rows, surplus = others, others.size - round(refusals.size * (1 - share) / share)
        return np.sort(np.random.default_rng(config.seed).permutation(rows)[:surplus])

    def _lay(self, part: Part) -> None:
        """Number the files of each side without gaps, whatever shards have none."""
        places = {}
        for name in part.files:
            suffix = "jsonl" if name == "left_out" else "arrow"
            places[name] = f"{name}/{self._laid[name]:05}.{suffix}"
            self._laid[name] += 1
        self.parts.link_into(part, **places)
        before = self.tally.rows["train"]
        self.refusing += [before + number for number in part.facts.get("refusing", ())]
        self.tally.shard(part.facts)
        if "left_out" in part.files:
            self.quarantine.write(part.files["left_out"].read_bytes())


def _documents(source: _Source, sides: "list[np.ndarray]", asked: _Source | None) -> dict[str, int]:
    """How many documents are on each side."""
    import numpy as np

    names, on = np.concatenate([shard.names for shard in source.documents]), np.concatenate(sides)
    found: dict[str, int] = {side: _distinct(names[on == number]) for number, side in enumerate(SIDES)}
    if asked:
        found["evaluation"] = _distinct(np.concatenate([shard.names for shard in asked.documents]))
    return found


def _distinct(names: "np.ndarray") -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    return int(pc.count_distinct(pa.array(names)).as_py())


def _stop_if_too_long(config: BuildConfig, tally: Tally) -> None:
    """Refuse a limit that loses too many rows: a model trained on the short rest misleads."""
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
