"""Completions that were paid for once: kept as they come, and carried on from artifact to artifact."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.engine.journal import Journal
from tasks.judges.endpoint import Completion

MOST = 200_000  # completions that an artifact carries: about 100 MB
TABLE = "completions.arrow"
JOURNAL = "completions.jsonl"
COLUMNS = ("digest", "text", "prompt_tokens", "completion_tokens")


class Completions:
    """Completions by a digest of the whole request: model, settings, prompt and data, but no address and no key.

    How a completion is read is no part of it, so that a change there asks nobody again.
    """

    def __init__(self, work: Path, earlier: Sequence[Path]) -> None:
        self._known: dict[str, Completion] = {}
        self._lock = threading.Lock()
        self._asked: dict[str, Future[Completion]] = {}
        self._journal = Journal(work / JOURNAL)
        for digest, *told in (*self._journal.records, *_left_beside(work)):
            self._known[digest] = Completion(*told)
        for folder in earlier:
            for digest, completion in _read(folder / TABLE):
                self._known.setdefault(digest, completion)
        self._taken: set[str] = set()

    def of(self, digest: str, ask: Callable[[], Completion]) -> Completion:
        """The completion of this digest; the first thread that wants an unknown one asks, others wait for it."""
        with self._lock:
            if digest in self._known:
                if digest not in self._asked:
                    self._taken.add(digest)
                return self._known[digest]
            there = self._asked.get(digest)
            coming = there or self._asked.setdefault(digest, Future())
        if there:
            return coming.result()
        try:
            completion = ask()
        except BaseException as error:
            coming.set_exception(error)
            raise
        with self._lock:
            self._journal.append((digest, *completion))
            self._known[digest] = completion
        coming.set_result(completion)
        return completion

    @property
    def taken_over(self) -> int:
        """How many were wanted and known beforehand."""
        return len(self._taken)

    def write(self, folder: Path) -> None:
        """Write an Arrow IPC stream: digest, text, prompt_tokens, completion_tokens; the newest `MOST`, those first."""
        import pyarrow as pa

        new = sorted(digest for digest in self._asked if digest in self._known)  # threads ask in any order
        kept = [*new, *(digest for digest in self._known if digest not in self._asked)][:MOST]
        told = [self._known[digest] for digest in kept]
        table = pa.table(
            {
                "digest": pa.array(kept, pa.string()),
                "text": pa.array([each.text for each in told], pa.string()),
                "prompt_tokens": pa.array([each.prompt_tokens for each in told], pa.int32()),
                "completion_tokens": pa.array([each.completion_tokens for each in told], pa.int32()),
            }
        )
        with pa.ipc.new_stream(str(folder / TABLE), table.schema) as stream:
            stream.write_table(table, max_chunksize=10_000)


def _left_beside(work: Path) -> Iterator[list[Any]]:
    """What killed runs of other keys had paid for, and what runs that go on have so far: a budget set late, say.

    A journal mends itself when it is opened, which only its own run may do; so copies are opened.
    """
    with tempfile.TemporaryDirectory() as folder:
        for beside in sorted(work.parent.iterdir()):
            if beside == work:
                continue
            with suppress(FileNotFoundError, NotADirectoryError):  # there is none, or its run has ended meanwhile
                yield from Journal(Path(shutil.copy(beside / JOURNAL, folder))).records


def _read(path: Path) -> Iterator[tuple[str, Completion]]:
    import pyarrow as pa

    if path.is_file():  # an artifact without an LLM's judgements has none
        with pa.ipc.open_stream(str(path)) as stream:
            for batch in stream:
                columns = (batch[name].to_pylist() for name in COLUMNS)
                for digest, *told in zip(*columns, strict=True):
                    yield digest, Completion(*told)
