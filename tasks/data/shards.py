"""Rows in shards, cut by content, so that inserting or deleting a row moves no boundary but its own."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

from tasks.data.readers import BYTE_ORDER_MARK, Lines, lines_of
from tasks.engine.code import not_in_key
from tasks.engine.inputs import Files
from tasks.engine.parts import noted
from tasks.engine.record import Change, Origin, Shards

# A shard costs some five files, a change costs a shard. At 2,048 rows a million rows are about 490 shards, and one new
# row costs 0.2 % of the work.
MEAN = 2_048
LEAST, MOST = MEAN // 4, MEAN * 2  # rows; of equal rows, each ends a shard or none does
CHECKSUMS = "source"  # folder of a validated artifact: the checksums of each shard that it was made from, by digest
MOST_BYTES = 8 << 20  # keeps memory flat where contexts are long
THREADS = 2  # that read and hash seen shards; both release the interpreter's lock
HEAD = 256  # bytes by which a shard is looked up among the seen ones


@dataclass(frozen=True)
class Seen:
    """How to recognise a shard that was cut before: see `Shard.seen`."""

    head: int  # CRC-32 of its first bytes
    size: int  # bytes
    rows: int
    digest: str


@dataclass
class Shard:
    """Consecutive rows of the source, as bytes, and the file and line of each."""

    rows: list[bytes] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("I"))  # of each row in its file, from 1
    files: list[tuple[int, int]] = field(default_factory=list)  # (number of its first row in a file, the file's index)
    whole: bool = False  # ended by the rule, and not by the end of the last file

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows and of where each ends, not of their files and lines.

        If each row is one line, it is the digest of a file with these lines.
        """
        lines = self._as_lines()
        if lines.count(b"\n") == len(self.rows):
            return sha256(lines).hexdigest()
        return sha256(lines + array("I", map(len, self.rows)).tobytes() + b"\0").hexdigest()  # no lines end in NUL

    @cached_property
    def seen(self) -> Seen | None:
        """How to recognise the shard: wherever the same bytes come next in a file, they are cut in the same way.

        None if that does not hold: for the last shard, and where a row would be read differently as a line.
        """
        lines = self._as_lines()
        odd = lines.count(b"\n") != len(self.rows) or b"{" in self.rows or lines.startswith(BYTE_ORDER_MARK)
        return None if odd or not self.whole else Seen(_head(lines), len(lines), len(self.rows), self.digest)

    def _as_lines(self) -> bytes:
        return b"\n".join(self.rows) + b"\n"


@dataclass(frozen=True)
class SeenShard:
    """A shard that was recognised. Has the attributes of `Shard`; its rows are split on demand."""

    content: bytes  # its lines
    seen: Seen
    lines: range
    files: list[tuple[int, int]]

    @property
    def digest(self) -> str:
        return self.seen.digest

    @property
    def rows(self) -> list[bytes]:
        return self.content[:-1].split(b"\n")


def checksums(rows: Iterable[bytes]) -> bytes:
    """CRC-32 of each row, 4 bytes, least significant first."""
    return b"".join([crc32(row).to_bytes(4, "little") for row in rows])


def cut(files: Iterable[Path], seen: Iterable[Seen] = ()) -> Iterator[Shard | SeenShard]:
    """The rows of the files, one after the other, in shards of about `MEAN` rows.

    A row whose CRC-32 is a multiple of `MEAN` ends its shard (content-defined chunking: Muthitacharoen and others 2001,
    there over bytes). So inserting, deleting or editing a row changes the shard around it, now and then its neighbour.

    Shards that this code has `seen` before are recognised by their bytes, without being cut into rows.
    """
    known: dict[int, list[Seen]] = {}
    for each in seen:
        known.setdefault(each.head, []).append(each)
    shard, size = Shard(), 0
    for index, path in enumerate(files):
        shard.files.append((len(shard.rows), index))
        with lines_of(path) as lines:
            if not shard.rows:
                yield from _seen_next(lines, known, index)
            for line, row in lines:
                shard.rows.append(row)
                shard.lines.append(line)
                size += len(row)
                count = len(shard.rows)
                if (count >= LEAST and not crc32(row) % MEAN) or count >= MOST or size >= MOST_BYTES:
                    shard.whole = True
                    yield shard
                    yield from _seen_next(lines, known, index)
                    shard, size = Shard(files=[(0, index)]), 0
    if shard.rows:
        yield shard


def _seen_next(lines: Lines, known: Mapping[int, list[Seen]], file: int) -> Iterator[SeenShard]:
    """Seen shards, as long as one comes next in the file with this index.

    While the caller works on one, threads read and hash the likely next ones; a wrong guess ends the looking ahead.
    """
    place = lines.place
    if not known or place is None:
        return
    with ThreadPoolExecutor(THREADS) as threads:
        trying: deque[tuple[Seen, Future[SeenContent | None]]] = deque()
        while True:
            while len(trying) <= THREADS and (likely := known.get(_head(lines.ahead(HEAD, place)))):
                trying.append((likely[0], threads.submit(_which, lines, likely, place)))
                place += likely[0].size
            if not trying:
                return
            first, future = trying.popleft()
            found = future.result()
            if not found:
                return
            seen, content = found
            start = lines.number + 1
            lines.skip(seen.size, seen.rows)
            if seen.size != first.size:
                trying.clear()
                place = lines.place or 0
            yield SeenShard(content, seen, range(start, start + seen.rows), [(0, file)])


SeenContent = tuple[Seen, bytes]


def _which(lines: Lines, likely: Iterable[Seen], place: int) -> SeenContent | None:
    """Which of these shards stands at this place, with its content."""
    for seen in likely:
        content = lines.ahead(seen.size, place)
        if sha256(content).hexdigest() == seen.digest:
            return seen, content
    return None


def _head(content: bytes) -> int:
    return crc32(content[:HEAD])


@dataclass(frozen=True)
class Rows(Files):
    """Files of rows, in order."""

    @not_in_key("people are told what changed")
    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        """By shards and rows, if the artifact that was made from the earlier rows holds the checksums of its rows."""
        from tasks.engine.changes import row_changes

        change = Change(kind="input", name=name, before=before.about or self.about, after=self.about)
        earlier = _checksums(artifact)
        if not earlier:
            return change
        now = _shards(self.paths, artifact, earlier)
        gone, new = earlier.keys() - now.keys(), now.keys() - earlier.keys()
        rows = row_changes((earlier[digest].read_bytes() for digest in gone), (now[digest] for digest in new))
        found: dict[str, Any] = {"share": len(new) / len(now) if now else 1.0}
        if any(rows.values()):
            shards = Shards(changed=len(new), removed=max(0, len(gone) - len(new)), total=len(now))
            found |= {"shards": shards, **rows}
        else:
            found["reordered"] = True
        return change.model_copy(update=found)


def _shards(paths: tuple[Path, ...], artifact: Path, earlier: Mapping[str, Path]) -> dict[str, bytes]:
    """The checksums of each shard's rows, by its digest; none of the `earlier` ones, which the artifact has."""
    seen = [Seen(**facts) for shards in noted(cut, [artifact]) for facts in shards]
    return {each.digest: b"" if each.digest in earlier else checksums(each.rows) for each in cut(paths, seen)}


def _checksums(artifact: Path) -> dict[str, Path]:
    """The files of checksums in an artifact, by the digest of their shard."""
    folder = artifact / CHECKSUMS
    return {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
