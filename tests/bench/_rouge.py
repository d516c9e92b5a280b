"""rouge-score's three figures of the rows of a file: ``python _rouge.py ROWS``, in an environment that has it.

Rows are read before the clock starts. Prints {"cpu", "wall": seconds} as JSON.
"""

import json
import os
import sys
import time

from rouge_score.rouge_scorer import RougeScorer

rows = [json.loads(line) for line in open(sys.argv[1])]  # noqa: SIM115
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
cpu, wall = time.process_time(), time.perf_counter()
for row in rows:
    scorer.score(row["reference"], row["answer"])
print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))
