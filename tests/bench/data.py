"""validate + build, cold, against TRL's own preparation and against bare tokenising."""

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import Measured, alternate, measure, seconds, table, verdict
from tests.bench.rows import write

ROWS = int(os.environ.get("BENCH_ROWS", 50_000))  # 300 MB of tokens and text: TRL's side takes minutes for more
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write(folder / "rows.jsonl", ROWS)
        evaluation = write(folder / "evaluation.jsonl", 1_000, start=10**8)
        stores = iter(range(100))

        def reground() -> Measured:
            """From files to artifacts, in a flow with the default runner."""
            told, run = _told("_data_steps", rows, evaluation, folder / f"store-{next(stores)}")
            return Measured(told["validate"] + told["build"], run.peak)

        def trl() -> Measured:
            told, run = _told("_trl_prepare", rows)
            return Measured(told["seconds"], run.peak)

        def bare() -> Measured:
            told, run = _told("_encode_batch", rows)
            return Measured(told["seconds"], run.peak)

        samples = alternate({"validate + build": reground, "TRL prepare": trl, "encode_batch": bare}, rounds=ROUNDS)
    table(f"{ROWS:,} rows, cold", samples)
    ours = seconds(samples, "validate + build")
    faster, slower = seconds(samples, "TRL prepare") / ours, ours / seconds(samples, "encode_batch")
    verdict(
        "data",
        ratio=slower,
        target=1.05,
        holds=slower <= 1.05 and faster >= 2.0,
        rows_per_second=round(ROWS / ours),
        speed_of_trl=round(faster, 3),
        speed_of_trl_target=2.0,
    )


def _told(module: str, *arguments: Path) -> tuple[dict[str, float], Measured]:
    run = measure([sys.executable, "-m", f"tests.bench.{module}", *arguments])
    return json.loads(run.out.splitlines()[-1]), run


if __name__ == "__main__":
    main()
