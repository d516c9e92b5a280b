"""A step with rowwise inputs is given what was made in the same way from other rows, and nothing else."""

from pathlib import Path

import pytest

from tasks.engine import Config, step
from tasks.engine.inputs import Local
from tasks.engine.key import Request
from tasks.engine.make import make
from tasks.engine.storage.store import Store


class Loudness(Config):
    times: int = 1


@step(rowwise=("rows",))
def shout(config: Loudness, *, rows: Path, how: Path, earlier: list[Path], out: Path) -> dict[str, float]:
    known: dict[str, str] = {}
    for folder in earlier:
        known = dict(line.split("=") for line in (folder / "said.txt").read_text().splitlines()) | known
    wanted = rows.read_text().split()
    said = {row: known.get(row, row.upper() * config.times + how.read_text()) for row in wanted}
    (out / "said.txt").write_text("".join(f"{row}={answer}\n" for row, answer in said.items()))
    return {"taken_over": sum(row in known for row in wanted)}


@step()
def whisper(config: Config, *, rows: Path, earlier: list[Path], out: Path) -> dict[str, float]:
    (out / "said.txt").write_text(rows.read_text().lower())
    return {"earlier": len(earlier)}


@pytest.fixture
def taken_over(tmp_path):
    """Makes the artifact of some rows; returns how many of them came from earlier ones."""
    store = Store(tmp_path / "store")

    def run(rows: str, how: str = "!", times: int = 1) -> float:
        for name, text in (("rows", rows), ("how", how)):
            (tmp_path / name).write_text(text)
        inputs = {name: Local(tmp_path / name) for name in ("rows", "how")}
        artifact, _ = make(Request(shout, Loudness(times=times), inputs, "shout"), store)
        said = dict(line.split("=") for line in (artifact.folder / "said.txt").read_text().splitlines())
        assert said == {row: row.upper() * times + how for row in rows.split()}
        return artifact.record.measured["taken_over"]

    run.store = store
    return run


def test_rows_that_were_there_are_taken_over(taken_over):
    assert taken_over("a b") == 0
    assert taken_over("a b c") == 2
    assert taken_over("c") == 1


def test_nothing_is_taken_from_what_was_made_in_another_way(taken_over):
    taken_over("a b")
    assert taken_over("a b c", how="?") == 0
    assert taken_over("a b c", times=2) == 0
    assert taken_over("a b c") == 2


def test_other_artifacts_in_between_do_not_hide_one_that_fits(taken_over):
    taken_over("a b")
    for times in range(2, 9):
        taken_over("a b", times=times)
    assert taken_over("a b c") == 2


@pytest.mark.parametrize("name", ["said.txt", "record.json", "manifest.json"])
def test_nothing_is_taken_from_a_harmed_artifact(taken_over, name):
    taken_over("a b")
    path = taken_over.store.match("shout").folder / name
    path.write_bytes(path.read_bytes().replace(b"A", b"X").replace(b"{", b"["))
    assert taken_over("a b c") == 0


def test_a_step_that_declares_no_growth_is_given_any_of_its_own(tmp_path):
    store = Store(tmp_path / "store")
    counts = []
    for rows in ("A", "B", "C"):
        (tmp_path / "rows").write_text(rows)
        artifact, _ = make(Request(whisper, Config(), {"rows": Local(tmp_path / "rows")}, "whisper"), store)
        counts.append(artifact.record.measured["earlier"])
    assert counts == [0, 1, 2]
