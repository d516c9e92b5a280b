"""Parts of a step's work: done once, taken again while code and content are the same, kept through a kill."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.code.reach import code_of
from tasks.engine.inputs import sha256_file
from tasks.engine.key import installed
from tasks.engine.mapper import map_serial
from tasks.engine.parts import Journal, Parts, Piece, read_index

RAN: list[str] = []


def shout(text: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    RAN.append(text)
    return {"loud": text.upper().encode()}, {"length": len(text)}


def piece(text: str) -> Piece:
    return Piece(["a text", text], lambda: (text,))


def run(out: Path, texts: list[str], *, earlier: list[Path] = [], work: Path | None = None) -> list[str]:  # noqa: B006
    """Shout the texts into a new artifact; returns those that had to be shouted anew."""
    RAN.clear()
    out.mkdir()
    parts = Parts(out, earlier, work)
    for number, part in enumerate(parts.map(shout, map(piece, texts))):
        parts.link_into(part, loud=f"loud/{number}")
        assert part.facts == {"length": len(texts[number])}
    parts.write()
    record = {"payload": {"code": code_of(__name__, "shout"), "libraries": installed(["numpy"])}}
    (out / "record.json").write_text(json.dumps(record))
    assert [(out / f"loud/{n}").read_text() for n in range(len(texts))] == [text.upper() for text in texts]
    return list(RAN)


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # This module is no first-party code of the product; give it one definition to be known by.
    monkeypatch.setattr("tests.tasks.engine.test_parts.code_of", lambda *_: {"here:shout": "v1"})
    monkeypatch.setattr("tasks.engine.parts.code_of", lambda *_: {"here:shout": "v1"})
    assert run(tmp_path / "first", ["a", "b", "c"]) == ["a", "b", "c"]
    return tmp_path / "first"


def test_only_what_is_new_is_done(first: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "second", ["new", "a", "c", "b", "last"], earlier=[first]) == ["new", "last"]
    assert run(tmp_path / "third", ["b"], earlier=[first]) == []
    assert run(tmp_path / "fourth", ["last", "c"], earlier=[tmp_path / "second"]) == []


def test_a_file_that_is_taken_over_is_stored_once(first: Path, tmp_path: Path) -> None:
    run(tmp_path / "second", ["c"], earlier=[first])
    assert (tmp_path / "second/loud/0").stat().st_ino == (first / "loud/2").stat().st_ino


def test_parts_of_other_code_are_done_again(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.engine.parts.code_of", lambda *_: {"here:shout": "v2"})
    assert run(tmp_path / "second", ["a"], earlier=[first]) == ["a"]


def test_parts_made_with_another_library_are_done_again(first: Path, tmp_path: Path) -> None:
    record = json.loads((first / "record.json").read_text())
    record["payload"]["libraries"]["numpy"] = "1.0"
    (first / "record.json").write_text(json.dumps(record))
    assert run(tmp_path / "second", ["a"], earlier=[first]) == ["a"]


@pytest.mark.parametrize("now", ["abbr: [Mr, Dr]", None])
def test_parts_made_with_another_resource_of_the_step_are_done_again(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str | None
) -> None:
    monkeypatch.setattr("tasks.engine.key.ROOT", tmp_path)
    words = tmp_path / "words.yaml"
    words.write_text("abbr: [Mr]")
    record = json.loads((first / "record.json").read_text())
    record["payload"]["code"]["words.yaml"] = sha256_file(words)
    (first / "record.json").write_text(json.dumps(record))
    assert run(tmp_path / "second", ["a"], earlier=[first]) == []
    words.write_text(now) if now else words.unlink()
    assert run(tmp_path / "third", ["a"], earlier=[first]) == ["a"]


def test_a_killed_run_keeps_the_parts_that_were_finished_whole(tmp_path: Path) -> None:
    work = tmp_path / "work"

    def interrupted() -> Iterator[Piece]:
        yield piece("a")
        yield piece("b")
        raise KeyboardInterrupt

    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        list(Parts(tmp_path / "killed", work=work).map(shout, interrupted()))
    assert run(tmp_path / "again", ["a", "b", "c"], work=work) == ["c"]
    torn = next(path for path in work.rglob("loud") if path.read_text() == "B")
    torn.write_bytes(b"")
    assert run(tmp_path / "torn", ["a", "b", "c"], work=work) == ["b"]


def test_the_parts_come_in_order_however_they_are_spread(first: Path, tmp_path: Path) -> None:
    def ahead(function: Any, calls: Any, *, name: str) -> Any:
        """Draws all calls before it gives the first result, as a pool may."""
        return iter([result for result in map_serial(function, list(calls), name=name)])

    (tmp_path / "second").mkdir()
    parts = Parts(tmp_path / "second", [first], mapper=ahead)
    texts = ["a", "x", "y", "b", "z", "c"]
    assert [part.files["loud"].read_text() for part in parts.map(shout, map(piece, texts))] == list("AXYBZC")


def test_parts_that_name_files_outside_are_no_parts(tmp_path: Path) -> None:
    told = {"encode": [{"given": "g", "facts": {}, "files": {"tokens": ["../../etc/passwd", "ab" * 32]}}]}
    (tmp_path / "parts.json").write_bytes(json.dumps(told).encode())
    assert read_index(tmp_path) == {}


# The journal: records that a crash tore, or that a disk damaged, are not believed

RECORDS = [["a", 1], {"text": "line\nbreak \u2028 é"}, []]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "work.jsonl"
    journal = Journal(path)
    for record in RECORDS:
        journal.append(record)
    return path


def test_a_new_process_finds_what_was_kept(path: Path) -> None:
    assert Journal(path).records == RECORDS


def test_cut_at_any_byte_whole_records_stay_and_the_next_follows_them(path: Path) -> None:
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content)):
        path.write_bytes(content[:size])
        journal = Journal(path)
        whole = [record for record, end in zip(RECORDS, ends, strict=True) if end <= size]
        assert journal.records == whole
        journal.append("next")
        assert Journal(path).records == [*whole, "next"]


def test_a_flipped_bit_anywhere_drops_its_record_and_those_behind(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        harmed = bytearray(content)
        harmed[place] ^= 1
        path.write_bytes(harmed)
        assert Journal(path).records == RECORDS[: content[:place].count(b"\n")]
