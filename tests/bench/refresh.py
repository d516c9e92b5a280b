"""validate + build after a data refresh, against the same from nothing; and memory as rows grow."""

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench.harness import Measured, measure, seconds, table, verdict
from tests.bench.rows import rows as made
from tests.bench.rows import write

ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
ROUNDS = 3
TARGET, MEMORY = 0.03, 1.15
CLUSTERS = 20  # of edited rows; together 1 %


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        evaluation = write(folder / "evaluation.jsonl", 1_000, start=10**8)
        tenth = _run(write(folder / "tenth.jsonl", ROWS // 10), evaluation, folder / "tenth")
        shutil.rmtree(folder / "tenth")
        rows, store = write(folder / "rows.jsonl", ROWS), folder / "store"
        cold = _run(rows, evaluation, store)
        samples = {f"cold, {ROWS // 10:,} rows": [tenth], f"cold, {ROWS:,} rows": [cold]}
        changes: dict[str, Callable[[int], Iterable[bytes]]] = {
            "1 % appended": lambda seed: _appended(rows, seed),
            "one row in front": lambda seed: _in_front(rows, seed),
            "1 % edited in clusters": lambda seed: _edited(rows, seed),
        }
        for change, lines in changes.items():
            samples[change] = []
            for seed in range(ROUNDS):
                with (folder / "changed.jsonl").open("wb") as file:
                    file.writelines(lines(seed))
                samples[change].append(_run(folder / "changed.jsonl", evaluation, store))
    table(f"validate + build of {ROWS:,} rows", samples)
    ratios = {change: seconds(samples, change) / cold.seconds for change in changes}
    worst = max(ratios["1 % appended"], ratios["one row in front"])
    memory = cold.peak / tenth.peak
    verdict(
        "refresh",
        ratio=worst,
        target=TARGET,
        holds=worst <= TARGET and memory <= MEMORY,
        ratios={change: round(ratio, 4) for change, ratio in ratios.items()},
        memory_ratio=round(memory, 3),
        memory_target=MEMORY,
        rows_per_second_cold=round(ROWS / cold.seconds),
    )


def _run(rows: Path, evaluation: Path, store: Path) -> Measured:
    """The steps' seconds; the server's start is not theirs."""
    run = measure([sys.executable, "-m", "tests.bench._data_steps", rows, evaluation, store])
    told = json.loads(run.out.splitlines()[-1])
    return Measured(told["validate"] + told["build"], run.peak)


def _appended(rows: Path, seed: int) -> Iterable[bytes]:
    yield from rows.open("rb")
    yield from (line + b"\n" for line in made(ROWS // 100, start=2 * 10**8 + seed * ROWS))


def _in_front(rows: Path, seed: int) -> Iterable[bytes]:
    yield from (line + b"\n" for line in made(1, start=3 * 10**8 + seed))
    yield from rows.open("rb")


def _edited(rows: Path, seed: int) -> Iterable[bytes]:
    """Runs of consecutive rows, at random places, replaced by others."""
    size = ROWS // 100 // CLUSTERS
    starts = random.Random(seed).sample(range(0, ROWS - size, size), CLUSTERS)
    edited = {row for start in starts for row in range(start, start + size)}
    new = made(len(edited), start=4 * 10**8 + seed * ROWS)
    for number, line in enumerate(rows.open("rb")):
        yield next(new) + b"\n" if number in edited else line


if __name__ == "__main__":
    main()
