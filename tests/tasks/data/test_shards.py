"""Shards: cut by what the rows say, so that a change moves no boundary but its own."""

import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.data import shards
from tasks.data.shards import LEAST, MEAN, MOST, SeenShard, cut


def rows(count: int, seed: int = 0) -> list[bytes]:
    made = random.Random(seed)
    return [b"%d: %d" % (number, made.getrandbits(64)) for number in range(count)]


def digests(folder: Path, *files: list[bytes]) -> list[str]:
    paths = []
    for number, lines in enumerate(files):
        paths.append(folder / f"{number}.jsonl")
        paths[-1].write_bytes(b"\n".join(lines) + b"\n")
    return [shard.digest for shard in cut(paths)]


def changed(before: list[str], after: list[str]) -> int:
    return sum((Counter(after) - Counter(before)).values())


@pytest.mark.parametrize("where", [0, 1, 31_234, 99_999])
@pytest.mark.parametrize("edit", ["insert", "delete", "replace"])
def test_a_row_more_or_less_changes_the_shard_around_it(tmp_path: Path, edit: str, where: int) -> None:
    some = rows(100_000)
    before = digests(tmp_path, some)
    assert 30 < len(before) < 100
    new = [] if edit == "delete" else [b"new"]
    after = digests(tmp_path, [*some[:where], *new, *some[where + (edit != "insert") :]])
    assert 1 <= changed(before, after) <= 3


def test_appending_changes_the_last_shard_and_adds_new_ones(tmp_path: Path) -> None:
    some = rows(50_000)
    before, after = digests(tmp_path, some), digests(tmp_path, [*some, *rows(1_000, seed=1)])
    assert before[:-1] == after[: len(before) - 1]
    assert changed(before, after) <= 3


def test_where_rows_lie_does_not_matter(tmp_path: Path) -> None:
    some = rows(20_000)
    assert digests(tmp_path, some) == digests(tmp_path, some[:7_000], some[7_000:])
    blank = [line for row in some for line in (row, b"  ")]
    assert digests(tmp_path, blank) == digests(tmp_path, some)


def test_a_shard_knows_the_file_and_line_of_each_row(tmp_path: Path) -> None:
    some = rows(10_000)
    (tmp_path / "a").write_bytes(b"\n\n".join(some[:3_000]))
    (tmp_path / "b").write_bytes(b"\n".join(some[3_000:]))
    found = []
    for shard in cut([tmp_path / "a", tmp_path / "b"]):
        starts = [*shard.files, (len(shard.rows), -1)]
        for (first, index), (end, _) in zip(starts, starts[1:], strict=False):
            found += [
                (index, line, row) for line, row in zip(shard.lines[first:end], shard.rows[first:end], strict=True)
            ]
    assert found == [(0, 1 + 2 * n, row) for n, row in enumerate(some[:3_000])] + [
        (1, 1 + n, row) for n, row in enumerate(some[3_000:])
    ]


def test_shards_are_neither_tiny_nor_huge_whatever_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for some in (rows(40_000), [b"the same"] * 40_000):
        (tmp_path / "rows").write_bytes(b"\n".join(some))
        sizes = [len(shard.rows) for shard in cut([tmp_path / "rows"])]
        assert all(LEAST <= size <= MOST for size in sizes[:-1]) and sum(sizes) == 40_000
    monkeypatch.setattr(shards, "MOST_BYTES", 10_000)
    (tmp_path / "rows").write_bytes(b"\n".join(rows(10_000)))
    assert all(sum(map(len, shard.rows)) < 10_100 for shard in cut([tmp_path / "rows"]))
    assert MEAN == 2_048


@given(st.lists(st.binary(min_size=1, max_size=3), min_size=2, max_size=6))
def test_other_rows_are_another_digest(some: list[bytes]) -> None:
    digest = shards.Shard(rows=list(some)).digest
    assert digest == shards.Shard(rows=list(some), files=[(0, 1)]).digest
    assert digest != shards.Shard(rows=[b"".join(some)]).digest
    assert digest != shards.Shard(rows=[some[0] + some[1], *some[2:]]).digest
    assert digest != shards.Shard(rows=[*some, b"x"]).digest


ODD = [b"{", b"}", b"  ", b"", b"\xef\xbb\xbf{}", b"[1]\r", b"tail  ", b'  "a": 1']


def lines(draw: random.Random, count: int) -> list[bytes]:
    """Lines of a file: rows, and now and then an object over several lines, a blank one, a byte order mark."""
    return [draw.choice(ODD) if draw.random() < 0.02 else b"%d" % draw.getrandbits(64) for _ in range(count)]


def everything(paths: list[Path], seen=()) -> tuple[list, list[SeenShard]]:
    found = list(cut(paths, seen))
    told = [(each.digest, list(each.rows), list(each.lines), each.files[-1][1]) for each in found]
    return told, [each for each in found if isinstance(each, SeenShard)]


@given(st.integers(0, 10_000), st.sampled_from([b"\n", b""]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_seen_is_cut_as_if_it_were_new(tmp_path_factory, seed: int, end: bytes, two_files: bool) -> None:
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MEAN", 16)
        patch.setattr(shards, "LEAST", 4)
        patch.setattr(shards, "MOST", 32)
        patch.setattr(shards, "HEAD", 16)
        before = lines(draw, 1_500)
        (folder / "before").write_bytes(b"\n".join(before) + end)
        seen = [each.seen for each in cut([folder / "before"]) if each.seen]
        at = draw.randrange(len(before))
        after = [*before[:at], *lines(draw, draw.randrange(3)), *before[at + draw.randrange(3) :]]
        half = draw.randrange(len(after)) if two_files else len(after)
        (folder / "a").write_bytes(b"\n".join(after[:half]) + end)
        (folder / "b").write_bytes(b"\n".join(after[half:]) + end)
        paths = [folder / "a", folder / "b"]
        new, none = everything(paths)
        again, known = everything(paths, seen)
    assert not none and again == new


def test_behind_a_row_in_front_shards_are_known_by_their_bytes(tmp_path: Path) -> None:
    some = [row * 20 for row in rows(50_000)]  # over HEAD bytes
    (tmp_path / "before").write_bytes(b"\n".join(some) + b"\n")
    shards_before = list(cut([tmp_path / "before"]))
    (tmp_path / "after").write_bytes(b"\n".join([b"new", *some]) + b"\n")
    found, known = everything([tmp_path / "after"], [each.seen for each in shards_before if each.seen])
    assert len(known) >= len(found) - 4  # the first one changed, with its neighbours; the last one ends with the file
    assert found == everything([tmp_path / "after"])[0]


def test_compressed_rows_are_cut_without_knowing_them(tmp_path: Path) -> None:
    content = b"\n".join(row * 20 for row in rows(10_000)) + b"\n"
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content, 1))
    plain, seen = everything([tmp_path / "plain"])[0], [each.seen for each in cut([tmp_path / "plain"]) if each.seen]
    packed, known = everything([tmp_path / "packed"], seen)
    assert packed == plain and not known
