"""Containers of rows beside plain JSONL, known by their content, and what cannot be read, called by its name.

Each is read as one stream, a batch of rows at a time. To add one: a line of `OPENERS`, and a function from the open
file to streams: lines of JSON as an open file, or numbered rows.
"""

import ast
import bz2
import codecs
import csv
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TypeAlias, cast

import orjson

from tasks.engine.errors import UserError

Rows: TypeAlias = Iterator[tuple[int, bytes]]  # (number, one JSON text), numbers rising from 1
Stream: TypeAlias = BinaryIO | Rows  # an open file: lines of JSON
# pyarrow raises OSError for a wrong or cut-off compression
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, zipfile.LargeZipFile)
HEAD = 1 << 16  # bytes that tell what a file is
CHUNK = 1 << 20  # characters of an array at a time
MOST = 64 << 20  # characters of one element
BATCH = 512  # rows of Parquet and Arrow at a time

PANDAS = "python -c \"import pandas; pandas.{}('{}').to_json('rows.jsonl', orient='records', lines=True)\""
FOREIGN = {  # by first bytes: what it is, and the command or the remedy
    b"SQLite format 3\0": ("an SQLite database", "sqlite3 -json {} 'select * from …' > rows.json"),
    b"\x80": ("a Python pickle, which could run code when read", PANDAS.format("read_pickle", "{}")),
    b"\x93NUMPY": ("a NumPy array", "write its rows as JSON, one object on a line"),
    b"\x89HDF": ("HDF5", PANDAS.format("read_hdf", "{}")),
    b"ORC": ("ORC", PANDAS.format("read_orc", "{}")),
    b"Obj\x01": ("Avro", "fastavro {} > rows.jsonl"),
    b"\xd0\xcf\x11\xe0": ("an old Office file", PANDAS.format("read_excel", "{}")),
    b"%PDF": ("a PDF", "write questions, passages and answers as JSON, one object on a line"),
    b"7z\xbc\xaf": ("a 7-zip archive", "7z x {}"),
    b"Rar!": ("a RAR archive", "unrar x {}"),
    b"<": ("XML or HTML", PANDAS.format("read_xml", "{}")),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "git lfs pull"),
}
# The key of an object's array of rows, behind keys with plain values: {"version": "1.1", "data": [{…}, …]}.
WRAPPED = re.compile(
    r'\s*\{\s*(?:"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-\w.+]+|\{[^{}]*\}|\[[^][{}]*\])\s*,\s*)*'
    r'"(?:data|rows|records|examples|samples|instances|dataset|triplets|train|validation|test)"\s*:\s*\[(?=\s*\{)'
)
ARRAY = re.compile(r"\s*\[(?=\s*(?:\{|\]\s*$|$))")
BETWEEN = re.compile(r"[\s,]*")
COLUMN = re.compile(r"[^\W\d][\w .:-]{0,40}")
COLUMNS = re.compile(
    r"quer|question|instruction|prompt|text|context|passage|document|input|answer|response|output", re.I
)


def peek(file: BinaryIO) -> bytes:
    """The first bytes of a file, which are still to read."""
    if not file.seekable():
        return cast(io.BufferedReader, file).peek(HEAD)[:HEAD]
    start = file.read(HEAD)
    file.seek(0)
    return start


def unpacked(start: bytes) -> bool:
    """Whether a file that starts so is plain lines of JSON."""
    return _opener(start) is None and not any(map(start.startswith, FOREIGN)) and _text_kind(start) is None


def streams(file: BinaryIO, name: str) -> Iterator[Stream]:
    """The streams of rows in a file, unpacked as often as it is packed. UserError for what is no container of rows."""
    start = peek(file)
    if opener := _opener(start):
        for inner, inner_name in opener(file, name):
            if hasattr(inner, "readline"):
                yield from streams(cast(BinaryIO, inner), inner_name)
            else:
                yield inner
    elif foreign := next((each for magic, each in FOREIGN.items() if start.startswith(magic)), None):
        raise UserError(f"{name}: this is {foreign[0]}", f"turn it into JSONL: {foreign[1].format(name)}")
    elif kind := _text_kind(start):
        yield kind(file, name)
    else:
        yield file


def _on_disk(file: BinaryIO) -> BinaryIO:
    """The file, or a copy on the disk of one inside a container, where seeking would unpack it again."""
    if isinstance(getattr(file, "raw", None), io.FileIO):
        return file
    copy = cast(BinaryIO, TemporaryFile())  # noqa: SIM115 (whoever reads it to its end lets it go)
    copyfileobj(file, copy, CHUNK)
    copy.seek(0)
    return copy


Opened: TypeAlias = Iterable[tuple[BinaryIO | Rows, str]]
Opener: TypeAlias = Callable[[BinaryIO, str], Opened]


def _by_arrow(codec: str) -> Opener:
    def opened(file: BinaryIO, name: str) -> Opened:
        import pyarrow as pa  # unlike gzip's and zstandard's readers, it is fast and notices a file that is cut off

        yield cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), codec), CHUNK)), name

    return opened


def _zip(file: BinaryIO, name: str) -> Opened:
    with zipfile.ZipFile(_on_disk(file)) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names:
            command = PANDAS.format("read_excel", name)
            raise UserError(
                f"{name}: this is an Office file, such as an Excel workbook", f"turn it into JSONL: {command}"
            )
        for each in sorted(names):
            if not each.endswith("/") and not re.search(r"(^|/)(\.|__MACOSX/)", each):
                with archive.open(each) as member:
                    yield cast(BinaryIO, member), f"{name}/{each}"


def _tar(file: BinaryIO, name: str) -> Opened:
    with tarfile.open(fileobj=_on_disk(file), mode="r:") as archive:
        for each in archive:
            if (member := archive.extractfile(each)) and not re.search(r"(^|/)\.", each.name):
                yield cast(BinaryIO, member), f"{name}/{each.name}"


def _recoded(encoding: str) -> Opener:
    return lambda file, name: [(cast(BinaryIO, io.BufferedReader(_Recoded(file, encoding))), name)]


class _Recoded(io.RawIOBase):
    """A file in another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)("replace")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and (read := self._file.read(CHUNK)):
            self._left = self._decoder.decode(read).encode("utf-8", "replace")
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _table(opened: Callable[[BinaryIO], Iterator[Any]]) -> Opener:
    """Rows of a columnar format: `opened` gives its record batches."""

    def rows(file: BinaryIO) -> Rows:
        number = 0
        for batch in opened(_on_disk(file)):
            for start in range(0, batch.num_rows, BATCH):
                for row in batch.slice(start, BATCH).to_pylist():
                    number += 1
                    yield number, orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)

    return lambda file, name: [(rows(file), name)]


def _parquet(file: BinaryIO) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.ParquetFile(file).iter_batches(batch_size=BATCH)
    except pa.ArrowInvalid as error:
        raise OSError(f"Parquet: {error}") from None


def _arrow(file: BinaryIO) -> Iterator[Any]:
    import pyarrow as pa

    try:
        if file.read(6) == b"ARROW1":
            opened = pa.ipc.open_file(file)
            yield from map(opened.get_batch, range(opened.num_record_batches))
        else:
            file.seek(0)
            yield from pa.ipc.open_stream(file)
    except pa.ArrowInvalid as error:
        raise OSError(f"Arrow: {error}") from None


def _opener(start: bytes) -> Opener | None:
    if start[257:262] == b"ustar":
        return _tar
    return next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)


OPENERS: dict[bytes, Opener] = {
    b"\x1f\x8b": _by_arrow("gzip"),
    b"\x28\xb5\x2f\xfd": _by_arrow("zstd"),
    b"BZh": lambda file, name: [(cast(BinaryIO, bz2.BZ2File(file)), name)],
    b"\xfd7zXZ\0": lambda file, name: [(cast(BinaryIO, lzma.LZMAFile(file)), name)],  # noqa: SIM115
    b"PK\x03\x04": _zip,
    b"PAR1": _table(_parquet),
    b"ARROW1": _table(_arrow),
    b"\xff\xff\xff\xff": _table(_arrow),  # a stream, as `datasets` keeps rows
    b"\xff\xfe\0\0": _recoded("utf-32"),
    b"\xff\xfe": _recoded("utf-16"),
    b"\xfe\xff": _recoded("utf-16"),
    b"{\0": _recoded("utf-16-le"),
    b"[\0": _recoded("utf-16-le"),
    b"\0{": _recoded("utf-16-be"),
    b"\0[": _recoded("utf-16-be"),
}


def _text_kind(start: bytes) -> Callable[[BinaryIO, str], Rows] | None:
    """How to read a text that is no JSONL: an array, an object around one, or a table; None for JSONL."""
    text = start.decode("utf-8-sig", "replace")
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("["):
        lines = first.rstrip().endswith("]") and rest.lstrip().startswith("[")  # each line a list: of messages, say
        found = None if lines else ARRAY.match(text)
    elif first.startswith("{"):
        found = WRAPPED.match(text)
    else:
        delimiter = max(",;\t|", key=first.count)
        cells = next(csv.reader([first], delimiter=delimiter), [])
        is_table = len(cells) > 1 and all(COLUMN.fullmatch(cell.strip()) for cell in cells)
        is_table = is_table and sum(bool(COLUMNS.search(cell)) for cell in cells) > 1
        return (lambda file, name: _csv(file, name, delimiter)) if is_table else None
    if not found:
        return None
    begin = len(text[: found.end()].encode())
    return lambda file, name: _array(file, name, begin + (3 if start.startswith(codecs.BOM_UTF8) else 0))


def _csv(file: BinaryIO, name: str, delimiter: str) -> Rows:
    """The lines of a table whose first line names the fields. A cell may hold a list, as JSON or Python writes it."""
    csv.field_size_limit(MOST)
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if None in row:
                raise csv.Error(f"more cells than the {len(row) - 1} of the header")
            yield (
                reader.line_num,
                orjson.dumps({key.strip(): _cell(text) for key, text in row.items() if text is not None}),
            )
    except csv.Error as error:
        raise UserError(
            f"{name}:{reader.line_num}: not CSV: {error}", 'put cells that hold delimiters or line breaks into "…"'
        ) from None
    except UnicodeDecodeError as error:
        place = f"{name}, behind line {reader.line_num}"
        raise UserError(
            f"{place}: not UTF-8: byte 0x{error.object[error.start]:02x}", "save it as CSV in UTF-8"
        ) from None


def _cell(text: str) -> Any:
    if text[:1] in ("[", "{"):
        for read in (orjson.loads, ast.literal_eval):
            try:
                return read(text)
            except (ValueError, SyntaxError):
                continue
    return text


def _array(file: BinaryIO, name: str, begin: int) -> Rows:
    """The elements of an array, as they are written, by the line that each begins on. `begin`: bytes up to the first.

    An article of SQuAD's files gives a row for each question. UserError, with the line, where the JSON breaks.
    """
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    scan = json.JSONDecoder(strict=False).raw_decode
    line = 1 + file.read(begin).count(b"\n")
    text, at, ended = "", 0, False
    while True:
        start = BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # matches the empty text, too
        line += text.count("\n", at, start)
        at = start
        if text.startswith("]", at):
            return
        try:
            value, end = scan(text, at)
        except json.JSONDecodeError as error:
            whole = not error.msg.startswith("Unterminated") and error.pos < len(text) - 16
            if ended or whole or len(text) - at > MOST:
                place, broken = line + text.count("\n", at, error.pos), error.pos >= len(text.rstrip()) or not whole
                excerpt = text[max(0, error.pos - 30) : error.pos + 30]
                remedy = (
                    "the file is cut off: copy it again" if broken else "mend this place: behind it nothing is read"
                )
                raise UserError(f"{name}:{place}: not JSON: {error.msg} at {excerpt!r}", remedy) from None
            read = file.read(CHUNK)
            text, at, ended = text[at:] + decode(read, not read), 0, not read
            continue
        written = text[at:end].encode("utf-8", "surrogateescape")
        for row in _articles(value) if isinstance(value, dict) and "paragraphs" in value else [written]:
            yield line, row
        line += text.count("\n", at, end)
        at = end


def _articles(article: dict[str, Any]) -> Iterator[bytes]:
    for paragraph in article["paragraphs"]:
        for asked in paragraph["qas"]:
            yield orjson.dumps({"title": article.get("title"), "context": paragraph["context"], **asked})
