"""The files of a source, and the rows in a file: lines of JSON, or another container, read with flat memory."""

import glob
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tasks.data.containers import UNREADABLE, Rows, opener_of, peek, streams
from tasks.engine.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")  # in a folder, each also packed
PACKED = re.compile(r"\.(gz|zst|xz|bz2|zip|tar)$")
ABOUT_DATASETS = ("dataset_info.json", "dataset_dict.json", "state.json")  # what `datasets` writes beside rows
MAX_LINE = 64 << 20  # bytes; a longer line would not fit in memory beside its parsed form
MAX_PRINTED = 10_000  # lines of an object printed over several lines; its bytes are limited by `MAX_LINE`
BUFFER = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def expand(source: str) -> list[Path]:
    """The files that `source` names: one file, a folder (searched to any depth), or a glob such as ``data/**/*.jsonl``.

    Sorted by path, which fixes which of two duplicates comes first. Empty files of a folder or glob are left out.
    UserError where nothing is found, or nothing but empty files.
    """
    path = Path(source).expanduser()
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and _is_rows(file.name)]
    else:
        found = [file for name in glob.glob(str(path), recursive=True) if (file := Path(name)).is_file()]
    if not found:
        raise UserError(f"{source}: {_why_nothing(path)}", "give a file of rows, a folder of them, or a quoted glob")
    files = sorted(file for file in found if file.stat().st_size)
    if not files:
        raise UserError(
            f"{source}: {'the file is' if path.is_file() else 'all files are'} empty", "give at least one row"
        )
    return files


def _is_rows(name: str) -> bool:
    while PACKED.search(name) and not name.endswith((".zip", ".tar")):
        name = PACKED.sub("", name)
    known = name.endswith((*SUFFIXES, ".zip", ".tar")) and not name.startswith((".", "cache-"))
    return known and name not in ABOUT_DATASETS


def _why_nothing(path: Path) -> str:
    if path.is_dir():
        return f"no {', '.join(SUFFIXES)} file (or .gz, .zst, .xz, .bz2, .zip of one) in this folder"
    if glob.has_magic(str(path)):
        return "no file matches"
    return "no such file or folder" + ("" if path.is_absolute() else f" in {Path.cwd()}")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each row's line number, from 1, and its bytes; blank lines are left out.

    An object printed over several lines, from a lone ``{`` to a lone ``}`` in the first column, is one row, numbered
    by its first line. Rows of Parquet and Arrow are numbered themselves, those of an archive over all of its files.
    UserError for a file that cannot be read, is cut off, or has a line over 64 MiB.
    """
    with lines_of(path) as lines:
        yield from lines


@contextmanager
def lines_of(path: Path) -> Iterator["Lines"]:
    """The rows of a file, whatever it is by its content. Raises UserError as `read_lines` does."""
    try:
        with path.open("rb", BUFFER) as file:
            yield Lines(file, path.name, _all(file, path.name) if opener_of(peek(file)) else None)
    except UNREADABLE as error:
        raise UserError(f"{path.name}: cannot be read: {error}", "copy or compress the file again") from error


def _all(file: BinaryIO, name: str) -> Rows:
    """The rows of all streams in a container, numbered on from one to the next."""
    before = last = 0
    for stream in streams(file, name):
        rows = Lines(cast(BinaryIO, stream), name) if hasattr(stream, "readline") else stream
        for number, row in rows:
            last = before + number
            yield last, row
        before = last


class Lines:
    """Iterates over the rows of an open file as `read_lines` does; between two rows it can look ahead and skip.

    `rows`: those of a file that is no plain JSONL, where it cannot.
    """

    def __init__(self, file: BinaryIO, name: str, rows: Rows | None = None) -> None:
        self.number = 0  # of the last line that was read
        self._file, self._name = file, name
        self._in_place = rows is None
        self._printed: list[bytes] = []  # the lines so far of an object that is printed over several
        self._rows = self._read() if rows is None else rows

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self._rows

    @property
    def place(self) -> int | None:
        """Offset of the next byte in the file; None in a container and within an object."""
        return self._file.tell() if self._in_place and not self._printed else None

    def ahead(self, size: int, place: int) -> bytes:
        """The bytes at an offset, fewer at the end of the file. Thread-safe."""
        return os.pread(self._file.fileno(), size, place)

    def skip(self, size: int, lines: int) -> None:
        """Skip the next `size` bytes, which hold `lines` line ends."""
        self._file.seek(size, io.SEEK_CUR)
        self.number += lines

    def _read(self) -> Iterator[tuple[int, bytes]]:
        start = size = 0
        while line := self._file.readline(MAX_LINE):
            self.number += 1
            if len(line) == MAX_LINE:
                place = f"{self._name}:{self.number}"
                raise UserError(f"{place}: a line of over {MAX_LINE >> 20} MiB", "write one row per line")
            line = line.removeprefix(BYTE_ORDER_MARK).rstrip()
            if self._printed:
                size += len(line)
                if line[:1] != b"{" and len(self._printed) < MAX_PRINTED and size < MAX_LINE:
                    self._printed.append(line)
                    if line == b"}":
                        row, self._printed = b"\n".join(self._printed), []
                        yield start, row
                    continue
                yield start, b"\n".join(self._printed)  # never closed: one malformed row, and reading goes on
                self._printed = []
            if line == b"{":
                self._printed, start, size = [line], self.number, 0
            elif line:
                yield self.number, line
        if self._printed:
            yield start, b"\n".join(self._printed)
