"""``python -m tests.faults.together CONFIG FOLDER COUNT KILLS SEED``: so many runs at once on one empty store.

Then the same on another, and so many of them are killed on the way. Prints one JSON object: {"all" or "some":
{"codes": exit codes, "begun": {"step/key": times}}}.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import runs


def main(config: Path, folder: Path, count: int, kills: int, seed: int) -> None:
    runs.load()
    chance = random.Random(seed)
    print(
        json.dumps(
            {
                "all": _run(config, folder / "all", count, 0, chance),
                "some": _run(config, folder / "some", count, kills, chance),
            }
        )
    )


def _run(config: Path, folder: Path, count: int, kills: int, chance: random.Random) -> dict[str, Any]:
    folder.mkdir()
    processes = [runs.fork(partial(runs.steps, config, folder), _own(folder, number)) for number in range(count)]
    for process in chance.sample(processes, kills):
        time.sleep(chance.uniform(0, 0.4))
        os.killpg(process, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    return {"codes": codes, "begun": Counter((folder / "begun").read_text().split())}


def _own(folder: Path, number: int) -> Path:
    """Where one of the runs writes its log."""
    place = folder / f"run-{number}"
    place.mkdir()
    return place


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
