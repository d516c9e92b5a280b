"""Every metric of the rows of a file, on one core: ``python -m tests.bench._score_rows ROWS``.

Rows are read before the clock starts. Prints {"cpu", "wall": seconds} as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path


def main(path: Path) -> None:
    from tasks.data.triplets import Triplet
    from tasks.evaluation.answers import Answer
    from tasks.score import ScoreConfig, batches, marks_of

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    config, refusal = ScoreConfig(), "Not stated in the context."
    rows = []
    for number, line in enumerate(path.open()):
        row = json.loads(line)
        known = {"query": row["query"], "context": tuple(row["context"]), "answer": row["reference"]}
        rows.append((Triplet(id=str(number), document="d", **known), Answer(str(number), row["answer"], 40, False)))
    marks_of(rows[:50], refusal, config)  # patterns are compiled at first use
    cpu, wall = time.process_time(), time.perf_counter()
    for batch in batches(rows):
        marks_of(batch, refusal, config)
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
