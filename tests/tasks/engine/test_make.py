"""Toy steps through the real store and runner."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest

from tasks.engine import RUNTIME, Config, step
from tasks.engine.errors import UserError
from tasks.engine.inputs import Files, Local
from tasks.engine.key import Request, identity
from tasks.engine.make import make
from tasks.engine.plan import Planner
from tasks.engine.record import Change, Reason
from tasks.engine.storage.store import Store
from tests.waiting import PATIENCE, wait_until


class CountConfig(Config):
    at_least: int = 1
    scale: float = 1.0
    workers: Annotated[int, RUNTIME] = 1


@step(libraries=("orjson",), parts=("kept",))
def count(config: CountConfig, *, rows: list[Path], out: Path) -> None:
    """Counts long lines; appends to runs.log beside its first input, so that tests see it run."""
    with (rows[0].parent / "runs.log").open("a") as log:
        log.write("count\n")
    lines = [line for path in rows for line in path.read_text().splitlines() if len(line) >= config.at_least]
    (out / "kept").mkdir()
    (out / "kept/lines.txt").write_text("\n".join(lines))
    (out / "report.json").write_text(json.dumps({"lines": len(lines)}))


@step()
def shout(config: Config, *, lines: Path, out: Path) -> dict[str, float]:
    (out / "loud.txt").write_text((lines / "lines.txt").read_text().upper())
    return {"lines_per_second": 7.0}


@step()
def slow(config: Config, *, rows: list[Path], work: Path, out: Path) -> None:
    (work / "half").write_text("done half")
    time.sleep(60)


@step()
def fails(config: Config, *, rows: list[Path], out: Path) -> None:
    (out / "quarantine.jsonl").write_text("the row")
    raise UserError("row 3 is bad", "mend it")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("a\nbb\nccc\n")
    return path


def request_for(rows: Path, **config) -> Request:
    return Request(count, CountConfig(**config), {"rows": Files((rows,))}, "count")


def runs(rows: Path) -> int:
    log = rows.parent / "runs.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_step_runs_once_for_one_key(store, rows):
    first, there = make(request_for(rows), store, why=Reason(note="first"))
    again, there_again = make(request_for(rows), store, why=Reason(note="again"))
    assert (there, there_again, runs(rows)) == (False, True, 1)
    assert first.digest == again.digest
    assert again.record.why == Reason(note="first")


def test_the_key_counts_content_and_config_but_not_place_or_runtime_fields(store, rows, tmp_path):
    key = request_for(rows).key
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    copy = moved / "renamed.txt"
    copy.write_bytes(rows.read_bytes())
    assert request_for(copy).key == key
    assert request_for(rows, workers=8).key == key
    assert request_for(rows, scale=1).key == key
    assert request_for(rows, at_least=2).key != key
    rows.write_text("a\nbb\ncccc\n")
    assert request_for(rows).key != key


def test_runtime_fields_are_left_out_at_any_depth():
    class Outer(Config):
        inner: CountConfig = CountConfig()

    assert identity(Outer()) == {"inner": {"at_least": 1, "scale": 1.0}}


def test_moving_the_store_keeps_every_artifact(store, rows, tmp_path):
    make(request_for(rows), store)
    moved = Store(store.root.rename(tmp_path / "moved"))
    assert make(request_for(rows), moved)[1]


@pytest.mark.parametrize("name", ["kept/lines.txt", "report.json", "manifest.json", "record.json"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_a_harmed_artifact_is_never_believed_and_is_made_again(store, rows, name, harm):
    made, _ = make(request_for(rows), store)
    path = made.folder / name
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    assert store.find("count", made.key) is None
    again, there = make(request_for(rows), store)
    assert (there, again.digest) == (False, made.digest)
    assert store.find("count", made.key) is not None


def test_a_step_that_reads_one_part_is_untouched_by_the_others(store, rows):
    made, _ = make(request_for(rows), store)
    before = Request(shout, Config(), {"lines": made["kept"]}, "shout").key
    other, _ = make(request_for(rows, scale=2.0), store)
    assert other.key != made.key
    assert Request(shout, Config(), {"lines": other["kept"]}, "shout").key == before


def test_what_a_step_measures_goes_on_the_record_and_not_into_the_digest(store, rows):
    made, _ = make(request_for(rows), store)
    loud, _ = make(Request(shout, Config(), {"lines": made["kept"]}, "shout"), store)
    assert loud.record.measured["lines_per_second"] == 7.0
    assert set(loud.files) == {"loud.txt"}


MAKE = """
import sys
from pathlib import Path
from tasks.engine.make import make
from tasks.engine.storage.store import Store
from tests.tasks.engine import test_make

name, rows, store = sys.argv[1:]
make(getattr(test_make, name)(Path(rows)), Store(Path(store)))
"""


def start(request: str, rows: Path, store: Store) -> "subprocess.Popen[bytes]":
    """A process of its own that makes what the function of this module named `request` asks for."""
    return subprocess.Popen([sys.executable, "-c", MAKE, request, str(rows), str(store.root)])


def slow_request(rows: Path) -> Request:
    return Request(slow, Config(), {"rows": Files((rows,))}, "slow")


def test_a_killed_step_leaves_no_artifact_but_keeps_its_work(store, rows):
    process = start("slow_request", rows, store)
    half = store.work("slow", slow_request(rows).key) / "half"
    wait_until(half.exists, process)
    process.kill()
    process.wait()
    assert store.all() == []
    assert half.read_text() == "done half"
    assert list((store.root / ".staging").iterdir())
    store.sweep()
    assert not list((store.root / ".staging").iterdir())


def test_of_many_processes_one_computes_and_all_succeed(store, rows):
    processes = [start("request_for", rows, store) for _ in range(4)]
    assert [process.wait(PATIENCE) for process in processes] == [0] * 4
    assert runs(rows) == 1


def test_a_step_that_gives_up_publishes_nothing_but_keeps_what_it_wrote(store, rows):
    request = Request(fails, Config(), {"rows": Files((rows,))}, "fails")
    with pytest.raises(UserError, match="row 3 is bad") as error:
        make(request, store)
    kept = Path(error.value.remedy.rpartition(" in ")[2])
    assert (kept / "quarantine.jsonl").read_text() == "the row"
    assert store.all() == []


def wire(run, rows: Path, **config):
    kept = run(count, CountConfig(**config), rows=Files((rows,)))
    return run(shout, Config(), lines=kept["kept"])


def planned(store, rows, **config):
    planner = Planner(store)
    wire(planner, rows, **config)
    return {each.label: (each.status, each.why) for each in planner.steps}


def run_all(store, rows, **config):
    def run(step, config, *, label="", **inputs):
        return make(Request(step, config, inputs, label or step.name), store)[0]

    wire(run, rows, **config)


def test_a_plan_says_what_would_run_and_which_field_is_to_blame(store, rows):
    waits = ("waits", Reason(needs=("count",)))
    assert planned(store, rows) == {"count": ("stale", Reason()), "shout": waits}
    run_all(store, rows)
    assert planned(store, rows) == {"count": ("fresh", None), "shout": ("fresh", None)}
    change = Change(kind="config", name="at_least", before=1, after=2)
    assert planned(store, rows, at_least=2)["count"] == ("stale", Reason(changes=(change,)))
    rows.write_text("a\n")
    change = Change(kind="input", name="rows", before="rows.txt", after="rows.txt")
    assert planned(store, rows)["count"] == ("stale", Reason(changes=(change,)))


def test_a_plan_names_the_file_that_was_harmed(store, rows):
    run_all(store, rows)
    (store.match("count").folder / "kept/lines.txt").write_text("a\nbb\nccd")
    why = Reason(state="corrupt", problem="kept/lines.txt has other content than was published")
    assert planned(store, rows)["count"] == ("stale", why)


def test_a_folder_is_known_by_names_and_bytes_but_not_by_place(tmp_path):
    for place in ("one", "two/deep"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
    assert Local(tmp_path / "one").digest == Local(tmp_path / "two/deep").digest
    (tmp_path / "one/config.json").rename(tmp_path / "one/other.json")
    assert Local(tmp_path / "one").digest != Local(tmp_path / "two/deep").digest
