"""Judgements as a table, and those of local models made once: taken from earlier artifacts, kept as they come."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.engine.inputs import sha256_json
from tasks.engine.journal import Journal
from tasks.engine.progress import Progress
from tasks.judges.case import Case, Judgement

CHUNK = 64  # cases that are judged and kept at a time
TABLE = "judgements.arrow"

Measure = Callable[[Sequence[Case]], list[Judgement]]
Told = tuple[Judgement, str | None]


class Judged(NamedTuple):
    """What a judge said of each case; of what a local model said, also the digest of all that shaped it."""

    judge: str
    about: dict[str, str | None]  # label, model, prompt
    said: list[Told]  # of each case, in their order

    @property
    def judgements(self) -> list[Judgement]:
        return [judgement for judgement, _ in self.said]


class Memory:
    """What local models have said, and what this run adds.

    A judgement is known by a digest of its recipe (code, libraries, model, settings) and of all that the judge saw, so
    that any earlier artifact will do.
    """

    def __init__(self, work: Path, earlier: Sequence[Path]) -> None:
        self._known: dict[str, Judgement] = {}
        for folder in earlier:
            for digest, judgement in _read(folder / TABLE):
                self._known.setdefault(digest, judgement)
        self._journal = Journal(work / "judgements.jsonl")
        self._known |= {digest: Judgement(*said) for batch in self._journal.records for digest, *said in batch}
        self.taken_over = self.made = 0

    def judged(self, judge: str, recipe: object, cases: Sequence[Case], measure: Measure) -> list[Told]:
        """The judgement of each case with its digest; `measure` is asked for those that are not known."""
        of_recipe = sha256_json((judge, recipe))
        digests = [case.digest(of_recipe) for case in cases]
        wanted = dict(zip(digests, cases, strict=True))
        new = [digest for digest in wanted if digest not in self._known]
        self.taken_over += len(wanted) - len(new)
        self.made += len(new)
        with Progress(judge, unit="answer", total=len(new)) as bar:
            for start in range(0, len(new), CHUNK):
                chunk = new[start : start + CHUNK]
                said = dict(zip(chunk, measure([wanted[digest] for digest in chunk]), strict=True))
                self._journal.append([(digest, *each) for digest, each in said.items()])
                self._known |= said
                bar.update(len(chunk))
        return [(self._known[digest], digest) for digest in digests]


def write_judgements(path: Path, cases: Sequence[Case], judged: Sequence[Judged]) -> None:
    """Write an Arrow IPC stream, a row per judge and case: id, system, judge, score, reason, digest."""
    import pyarrow as pa

    said = [(case, each.judge, *told) for each in judged for case, told in zip(cases, each.said, strict=True)]
    table = pa.table(
        {
            "id": pa.array([case.id for case, *_ in said], pa.string()),
            "system": pa.array([case.system for case, *_ in said], pa.string()),
            "judge": pa.array([judge for _, judge, *_ in said], pa.string()),
            "score": pa.array([judgement.score for *_, judgement, _ in said], pa.float64()),
            "reason": pa.array([judgement.reason for *_, judgement, _ in said], pa.string()),
            "digest": pa.array([digest for *_, digest in said], pa.string()),
        }
    )
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table, max_chunksize=10_000)


def _read(path: Path) -> Iterator[tuple[str, Judgement]]:
    import pyarrow as pa

    with pa.ipc.open_stream(str(path)) as stream:
        for batch in stream:
            columns = (batch[name].to_pylist() for name in ("digest", "score", "reason"))
            for digest, score, reason in zip(*columns, strict=True):
                if digest:
                    yield digest, Judgement(score, reason)
