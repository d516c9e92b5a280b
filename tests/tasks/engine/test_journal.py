"""Records that a crash tore, or that rotted, are not believed."""

import pytest

from tasks.engine.parts import Journal

RECORDS = [["a", 1], {"text": "line\nbreak \u2028 é"}, []]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "work.jsonl"
    journal = Journal(path)
    for record in RECORDS:
        journal.append(record)
    return path


def test_a_new_process_finds_what_was_kept(path):
    assert Journal(path).records == RECORDS


def test_cut_at_any_byte_whole_records_stay_and_the_next_follows_them(path):
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content)):
        path.write_bytes(content[:size])
        journal = Journal(path)
        whole = [record for record, end in zip(RECORDS, ends, strict=True) if end <= size]
        assert journal.records == whole
        journal.append("next")
        assert Journal(path).records == [*whole, "next"]


def test_a_flipped_bit_anywhere_drops_its_record_and_those_behind(path):
    content = path.read_bytes()
    for place in range(len(content)):
        harmed = bytearray(content)
        harmed[place] ^= 1
        path.write_bytes(harmed)
        assert Journal(path).records == RECORDS[: content[:place].count(b"\n")]
