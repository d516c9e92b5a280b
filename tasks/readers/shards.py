"""Rows in shards, cut where the rows themselves say, so that a row more or less moves no boundary but its own."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from tasks.readers.files import read_lines

# A shard costs some five files; a change costs a shard. At 2,048 rows a million rows are about 490 shards, and one new
# row costs 0.2 % of the work.
MEAN = 2_048
LEAST, MOST = MEAN // 4, MEAN * 2  # rows; equal rows all end a shard, or none does
CHECKSUMS = "source"  # folder of a validated artifact: the checksums of each shard that it was made from, by digest
MOST_BYTES = 8 << 20  # keeps memory flat where contexts are long


@dataclass
class Shard:
    """Consecutive rows of the source, as bytes, and where each of them stands."""

    rows: list[bytes] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("I"))  # of each row in its file, from 1
    files: list[tuple[int, int]] = field(default_factory=list)  # (number of its first row in a file, the file's index)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows and of where each ends; not of where they stand."""
        hashed = sha256(array("I", map(len, self.rows)).tobytes())
        hashed.update(b"".join(self.rows))
        return hashed.hexdigest()


def checksums(rows: Iterable[bytes]) -> bytes:
    """CRC-32 of each row, 4 bytes, least significant first."""
    return b"".join([crc32(row).to_bytes(4, "little") for row in rows])


def cut(files: Iterable[Path]) -> Iterator[Shard]:
    """The rows of the files, one after the other, in shards of about `MEAN` rows.

    A row whose CRC-32 is a multiple of `MEAN` ends its shard (content-defined chunking: Muthitacharoen and others 2001,
    there over bytes). So inserting, deleting or editing a row changes the shard around it, now and then its neighbour.
    """
    shard, size = Shard(), 0
    for index, path in enumerate(files):
        shard.files.append((len(shard.rows), index))
        for line, row in read_lines(path):
            shard.rows.append(row)
            shard.lines.append(line)
            size += len(row)
            count = len(shard.rows)
            if (count >= LEAST and not crc32(row) % MEAN) or count >= MOST or size >= MOST_BYTES:
                yield shard
                shard, size = Shard(files=[(0, index)]), 0
    if shard.rows:
        yield shard
