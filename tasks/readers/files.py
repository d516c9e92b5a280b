"""Find the files of a source and stream their rows, plain or compressed, with flat memory."""

import glob
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.errors import UserError

SUFFIXES = (".jsonl", ".ndjson", ".json")  # each also with .gz or .zst, in a folder
COMPRESSION = {  # by a file's first bytes, so that a wrong suffix does no harm
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
MAX_LINE = 64 << 20  # bytes; a longer line is no row, and would not fit in memory beside its parsed form
MAX_PRINTED = 10_000  # lines of one object that is printed over several
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
        raise UserError(f"{source}: {_why_nothing(path)}", "give a JSONL file, a folder of them, or a quoted glob")
    files = sorted(file for file in found if file.stat().st_size)
    if not files:
        raise UserError(
            f"{source}: {'the file is' if path.is_file() else 'all files are'} empty", "give at least one row"
        )
    return files


def _is_rows(name: str) -> bool:
    return name.removesuffix(".gz").removesuffix(".zst").endswith(SUFFIXES) and not name.startswith(".")


def _why_nothing(path: Path) -> str:
    if path.is_dir():
        return f"no {', '.join(SUFFIXES)} file (or .gz, .zst of one) in this folder"
    if glob.has_magic(str(path)):
        return "no file matches"
    return "no such file or folder"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each row's line number, from 1, and its bytes; blank lines are left out.

    An object printed over several lines, from a lone ``{`` to a lone ``}`` in the first column, is one row, numbered
    by its first line. UserError for a file that cannot be read, is cut off, or has a line over 64 MiB.
    """
    try:
        with _open(path) as file:
            yield from _rows(file, path.name)
    except (OSError, EOFError) as error:  # pyarrow raises OSError for what is no such compression or is cut off
        raise UserError(f"{path.name}: cannot be read: {error}", "copy or compress the file again") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(4)
    for magic, compression in COMPRESSION.items():
        if start.startswith(magic):
            import pyarrow as pa  # unlike zstandard's reader, it notices a file that is cut off

            return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), compression), BUFFER)
    return path.open("rb", BUFFER)


def _rows(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    printed: list[bytes] = []  # the lines so far of an object that is printed over several
    start = 0
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
        if len(line) == MAX_LINE:
            raise UserError(f"{name}:{number}: a line of over {MAX_LINE >> 20} MiB", "write one row per line")
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        line = line.rstrip()
        if printed:
            if line[:1] != b"{" and len(printed) < MAX_PRINTED:
                printed.append(line)
                if line == b"}":
                    yield start, b"\n".join(printed)
                    printed = []
                continue
            yield start, b"\n".join(printed)  # never closed: one malformed row, and reading goes on
            printed = []
        if line == b"{":
            printed, start = [line], number
        elif line:
            yield number, line
    if printed:
        yield start, b"\n".join(printed)
