"""``python -m tests.faults.chain CONFIG FOLDER KILLS SEED``: runs that are killed, and run again, until one ends.

Then the same from an empty store, until so many kills are counted. After each kill every artifact that can be seen is
checked byte by byte, and that nothing finished was begun again; after each end, that it is what an undisturbed run
makes. Prints one JSON object: {"kills": {how: count}, "during": {step: count}, "stores", "seconds"}.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import runs
from tests.faults.runs import Change
from tests.faults.whole import contents, published

PATIENCE = 240.0  # seconds for a run that takes 5 on free cores
ORPHANS = 300.0  # seconds that a killed run's children have to follow it, on any machine
HOW = {  # and how often
    "everything at an instant": 4,
    "the run at an instant": 2,
    "the training at an instant": 1,
    "everything before a change of the run": 2,
    "everything before a change of the publication": 3,
    "everything before a change of the training": 1,
}


@dataclass(frozen=True)
class Undisturbed:
    """What a run makes that nobody kills, and what it takes."""

    contents: dict[str, dict[str, str]]  # in the order of being made
    seconds: float
    changes: dict[str, int]  # to file systems, by kind; see `runs.Change`


def main(config: Path, folder: Path, count: int, seed: int) -> None:
    runs.load()
    chance = random.Random(seed)
    start = time.monotonic()
    kinds = {"steps": runs.steps, "flow": runs.flow}
    undisturbed = {kind: _undisturbed(partial(run, config), folder / kind) for kind, run in kinds.items()}
    assert undisturbed["steps"].contents == undisturbed["flow"].contents
    kills: list[tuple[str, str]] = []
    stores = 0
    while len(kills) < count:
        kind = "steps" if stores % 4 else "flow"  # Prefect costs as much as all steps together
        place = folder / f"store-{stores}"
        kills += _until_the_end(kind, partial(kinds[kind], config), place, undisturbed[kind], chance)
        shutil.rmtree(place)
        stores += 1
    how, during = (Counter(column) for column in zip(*kills, strict=True))
    seconds = round(time.monotonic() - start)
    print(json.dumps({"kills": how, "during": during, "stores": stores, "seconds": seconds}))


def _undisturbed(run: Callable[[Path], None], place: Path) -> Undisturbed:
    place.mkdir()
    start = time.monotonic()
    _require_end(_code(runs.fork(partial(run, place), place), PATIENCE), place)
    seconds = time.monotonic() - start
    changes = {by: int((place / f"changes-{by}").read_text()) for by in ("run", "publication", "training")}
    return Undisturbed(contents(place / "store"), seconds, changes)


def _until_the_end(
    kind: str, run: Callable[[Path], None], place: Path, undisturbed: Undisturbed, chance: random.Random
) -> list[tuple[str, str]]:
    """Run, be killed and run again on one store until a run ends; returns how it was killed, and during which step."""
    place.mkdir()
    kills: list[tuple[str, str]] = []
    finished: dict[str, bytes] = {}
    begun: list[str] = []
    while True:
        how = chance.choices(list(HOW), list(HOW.values()))[0]
        killed = _killed(how, partial(run, place), place, undisturbed, chance)
        now = published(place / "store")
        again = {about for about, manifest in finished.items() if now.get(about) != manifest}
        assert not again, f"{again} were finished, and are gone or made again"
        before, begun = len(begun), (place / "begun").read_text().split() if (place / "begun").exists() else []
        again = set(begun[before:]) & set(finished)
        assert not again, f"{again} were finished, and began again"
        finished = now
        if not killed:
            break
        during = next((about for about in undisturbed.contents if about not in finished), "the end")
        kills.append((f"{kind}: {how}", during.partition("/")[0]))
    made = contents(place / "store")
    other = {
        about
        for about in made.keys() | undisturbed.contents.keys()
        if made.get(about) != undisturbed.contents.get(about)
    }
    assert not other, f"{other} are not what an undisturbed run makes; killed {kills}"
    return kills


def _killed(how: str, run: Callable[[], None], place: Path, undisturbed: Undisturbed, chance: random.Random) -> bool:
    """Start a run and kill it in this way; False if it came to its end first.

    Within half of what a whole run takes: so each store sees several kills, and every part of a run is as likely.
    """
    if "change" in how:
        by = how.rpartition(" ")[2]
        process = runs.fork(run, place, dies_before=Change(by, chance.randint(1, undisturbed.changes[by] // 2)))
        code = _code(process, PATIENCE)
    else:
        process = runs.fork(run, place)
        code = _code(process, chance.uniform(0, undisturbed.seconds / 2))
    training = _children(process)
    if code is None:
        if "everything" in how:
            os.killpg(process, signal.SIGKILL)
        elif "training" in how:
            for child in training:
                os.kill(child, signal.SIGKILL)
        else:
            os.kill(process, signal.SIGKILL)
        code = _code(process, PATIENCE)
    _require_no_orphan(process)
    if code == -signal.SIGKILL:
        return True
    if "training" in how and code == 2:
        assert "the training process was killed" in (place / "log").read_text()
        return True
    _require_end(code, place)
    return False


def _code(process: int, seconds: float) -> int | None:
    """The exit code of a process of ours, None if it does not end in so many seconds."""
    watch = os.pidfd_open(process)
    try:
        ended, _, _ = select.select([watch], [], [], seconds)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) if ended else None
    finally:
        os.close(watch)


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _require_no_orphan(group: int) -> None:
    """Whatever a run started must end with it. Orphans become children of ours."""
    deadline = time.monotonic() + ORPHANS
    try:
        while os.waitpid(-group, os.WNOHANG):
            assert time.monotonic() < deadline, "a killed run left a child behind"
            time.sleep(0.002)
    except ChildProcessError:
        return


def _require_end(code: int | None, place: Path) -> None:
    log = (place / "log").read_text()[-4000:]
    assert code == 0, f"a run ended with {code}:\n{log}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
