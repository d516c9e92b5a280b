"""Every offline metric of answers of two or three sentences, on one core, against rouge-score's ROUGE-1, -2 and -L.

Both get the same answers; ours reads some 200 words of passages for each beside. Rates are by CPU time, which a busy
machine falsifies less than the wall; the wall is told too. The target goes by the median of the rounds. No two
contexts are alike: what a cache by document would spare is not counted.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests.bench._answers import asked
from tests.bench.harness import Measured, alternate, measure, peer, seconds, table, verdict

ROWS = int(os.environ.get("BENCH_ROWS", 6_000))
ROUNDS = 5
TARGET = 0.5  # of the CPU time that rouge-score takes in the same run: holds on any machine
ROUGE = "rouge-score==0.1.2"
PEER = Path(__file__).with_name("_rouge.py")


def main() -> None:
    rouge = peer(ROUGE) / "python"
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "rows.jsonl"
        asked_rows = list(asked(ROWS))
        rows.write_text("".join(json.dumps(row._asdict()) + "\n" for row in asked_rows))
        words = [len(" ".join(row.context).split()) for row in asked_rows]
        distinct = len({row.context for row in asked_rows})
        walls: dict[str, list[float]] = {}

        def timed(label: str, command: list[str | Path]) -> Measured:
            run = measure([*command, rows])
            told = json.loads(run.out.splitlines()[-1])
            walls.setdefault(label, []).append(told["wall"])
            return Measured(told["cpu"], run.peak)

        ours, theirs = "reground, 22 metrics", "rouge-score, ROUGE-1, -2, -L"
        samples = alternate(
            {
                ours: lambda: timed(ours, [sys.executable, "-m", "tests.bench._score_rows"]),
                theirs: lambda: timed(theirs, [rouge, PEER]),
            },
            rounds=ROUNDS,
        )
    table(f"{ROWS:,} answers, CPU seconds", samples)
    rate = ROWS / seconds(samples, ours)
    verdict(
        "score",
        ratio=seconds(samples, ours) / seconds(samples, theirs),
        target=TARGET,
        answers_per_second=round(rate),
        answers_per_second_fastest=round(ROWS / min(each.seconds for each in samples[ours])),
        answers_per_second_by_the_wall=round(ROWS / statistics.median(walls[ours][1:])),  # the first round warms up
        answers_per_second_rouge_score=round(ROWS / seconds(samples, theirs)),
        words_of_context=round(sum(words) / ROWS),
        distinct_contexts=distinct,
    )


if __name__ == "__main__":
    main()
