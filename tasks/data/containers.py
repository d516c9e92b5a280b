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

from tasks.data.names import names
from tasks.engine.errors import UserError

Rows: TypeAlias = Iterator[tuple[int, bytes]]  # (number, one JSON text), numbers rising from 1
Stream: TypeAlias = BinaryIO | Rows  # an open file: lines of JSON
Opener: TypeAlias = Callable[[BinaryIO, str], Iterable[Stream]]
# pyarrow raises OSError for a wrong or cut-off compression
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
HEAD = 1 << 16  # bytes that tell what a file is
CHUNK = 1 << 20  # bytes of an array at a time
MOST = 64 << 20  # characters of one element
BATCH = 512  # rows of Parquet and Arrow at a time

# The key of an object's array of rows, behind keys with plain values: {"version": "1.1", "data": [{…}, …]}.
WRAPPED = re.compile(
    r'\s*\{\s*(?:"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-\w.+]+|\{[^{}]*\}|\[[^][{}]*\])\s*,\s*)*'
    r'"(?:data|rows|records|examples|samples|instances|dataset|triplets|train|validation|test)"\s*:\s*\[(?=\s*\{)'
)
ARRAY = re.compile(r"\s*\[(?=\s*(?:\{|\]\s*$|$))")
BETWEEN = re.compile(r"[\s,]*")
COLUMN = re.compile(r"\s*[^\W\d][\w .:-]{0,40}")
COLUMNS = re.compile(r"quer|question|instruct|prompt|text|passage|document|input|answer|response|output", re.I)


def peek(file: BinaryIO) -> bytes:
    """The first bytes of a file, which are still to read."""
    if not file.seekable():
        return cast(io.BufferedReader, file).peek(HEAD)[:HEAD]
    start = file.read(HEAD)
    file.seek(0)
    return start


def opener_of(start: bytes) -> Opener | None:
    """How to open a file that starts so; None for plain lines of JSON."""
    if start[257:262] == b"ustar":
        return _tar
    for magic, opener in OPENERS.items():
        if start.startswith(magic):
            return opener
    if start.lstrip()[:1] not in (b"{", b"["):
        for foreign in names().foreign:
            if start.startswith(foreign.begins.encode("latin-1")):
                return lambda file, name: _refused(name, foreign.is_, foreign.command)
    return _of_text(start.decode("utf-8-sig", "replace"), 3 if start.startswith(codecs.BOM_UTF8) else 0)


def streams(file: BinaryIO, name: str) -> Iterator[Stream]:
    """The streams of rows in a file, unpacked as often as it is packed. UserError for what is no container of rows."""
    opener = opener_of(peek(file))
    yield from opener(file, name) if opener else [file]


def _refused(name: str, what: str, command: str) -> Iterator[Stream]:
    raise UserError(f"{name}: this is {what}", f"turn it into JSONL: {command.format(name)}")


def _on_disk(file: BinaryIO) -> BinaryIO:
    """The file, or a copy on the disk of one inside a container, where seeking would unpack it again."""
    if isinstance(getattr(file, "raw", None), io.FileIO):
        return file
    return _copied(lambda copy: copyfileobj(file, copy, CHUNK))


def _copied(write: Callable[[BinaryIO], object]) -> BinaryIO:
    copy = cast(BinaryIO, TemporaryFile())  # noqa: SIM115 (whoever reads it to its end lets it go)
    write(copy)
    copy.seek(0)
    return copy


def _packed(unpack: Callable[[BinaryIO], object]) -> Opener:
    return lambda file, name: streams(cast(BinaryIO, unpack(file)), name)


def _by_arrow(codec: str) -> Callable[[BinaryIO], object]:
    def unpack(file: BinaryIO) -> object:
        import pyarrow as pa  # unlike gzip's and zstandard's readers, it is fast and notices a file that is cut off

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), codec), CHUNK)

    return unpack


def _recoded(encoding: str) -> Callable[[BinaryIO], object]:
    def chunks(file: BinaryIO) -> Iterator[bytes]:
        for text in codecs.iterdecode(iter(lambda: file.read(CHUNK), b""), encoding, "replace"):
            yield text.encode("utf-8", "replace")

    return lambda file: _copied(lambda copy: copy.writelines(chunks(file)))


def _zip(file: BinaryIO, name: str) -> Iterator[Stream]:
    with zipfile.ZipFile(_on_disk(file)) as archive:
        if "[Content_Types].xml" in archive.namelist():
            yield from _refused(name, "an Office file, such as an Excel workbook", names().office)
        for each in sorted(archive.namelist()):
            if not each.endswith("/") and not re.search(r"(^|/)(\.|__MACOSX/)", each):
                with archive.open(each) as member:
                    yield from streams(cast(BinaryIO, member), f"{name}/{each}")


def _tar(file: BinaryIO, name: str) -> Iterator[Stream]:
    with tarfile.open(fileobj=_on_disk(file), mode="r:") as archive:
        for each in archive:
            if (member := archive.extractfile(each)) and not re.search(r"(^|/)\.", each.name):
                yield from streams(cast(BinaryIO, member), f"{name}/{each.name}")


def _table(batches: Callable[[BinaryIO], Iterator[Any]]) -> Opener:
    """Rows of a columnar format, of which `batches` gives the record batches."""

    def rows(file: BinaryIO) -> Iterator[bytes]:
        for batch in batches(_on_disk(file)):
            for start in range(0, batch.num_rows, BATCH):
                for row in batch.slice(start, BATCH).to_pylist():
                    yield orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)

    return lambda file, name: [enumerate(rows(file), 1)]


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


OPENERS: dict[bytes, Opener] = {
    b"\x1f\x8b": _packed(_by_arrow("gzip")),
    b"\x28\xb5\x2f\xfd": _packed(_by_arrow("zstd")),
    b"BZh": _packed(bz2.BZ2File),
    b"\xfd7zXZ\0": _packed(lzma.LZMAFile),
    b"PK\x03\x04": _zip,
    b"PAR1": _table(_parquet),
    b"ARROW1": _table(_arrow),
    b"\xff\xff\xff\xff": _table(_arrow),  # a stream, as `datasets` keeps rows
    b"\xff\xfe\0\0": _packed(_recoded("utf-32")),
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), _packed(_recoded("utf-16"))),
    **dict.fromkeys((b"{\0", b"[\0"), _packed(_recoded("utf-16-le"))),
    **dict.fromkeys((b"\0{", b"\0["), _packed(_recoded("utf-16-be"))),
}


def _of_text(text: str, mark: int) -> Opener | None:
    """How to read a text: an array, an object around one, or a table; None for JSONL. `mark`: bytes before it."""
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("["):
        lines = first.rstrip().endswith("]") and rest.lstrip().startswith("[")  # each line a list: of messages, say
        found = None if lines else ARRAY.match(text)
    elif first.startswith("{"):
        found = WRAPPED.match(text)
    else:
        delimiter = max(",;\t|", key=first.count)
        table = csv.reader(io.StringIO(text.lstrip()), delimiter=delimiter)
        cells, below = next(table, []), next(table, [""])
        known = len(list(filter(COLUMNS.search, cells))) > 1
        fits = 1 < len(cells) == len(below) and not below[0].startswith("{")  # names of any language, for data.fields
        is_table = all(map(COLUMN.fullmatch, cells)) and (known or fits)
        return (lambda file, name: [_csv(file, name, delimiter)]) if is_table else None
    if not found:
        return None
    begin = mark + len(text[: found.end()].encode())
    return lambda file, name: [_array(file, name, begin)]


def _csv(file: BinaryIO, name: str, delimiter: str) -> Rows:
    """The lines of a table whose first line names the fields. A cell may hold a list, as JSON or Python writes it."""
    csv.field_size_limit(MOST)
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if None in row:
                raise csv.Error(f"more cells than the {len(row) - 1} of the header")
            cells = {key.strip(): _cell(text) for key, text in row.items() if text is not None}
            yield reader.line_num, orjson.dumps(cells)
    except csv.Error as error:
        remedy = 'put cells that hold delimiters or line breaks into "…"'
        raise UserError(f"{name}:{reader.line_num}: not CSV: {error}", remedy) from None
    except UnicodeDecodeError as error:
        remedy = "save it as CSV in UTF-8, e.g. by: iconv -f latin1 -t utf-8"
        place = f"{name}:{_first_broken(file)}" if file.seekable() else f"{name}, behind line {reader.line_num}"
        raise UserError(f"{place}: not UTF-8: byte 0x{error.object[error.start]:02x}", remedy) from None


def _first_broken(file: BinaryIO) -> int:
    """The number of the first line that is not UTF-8."""
    file.seek(0)
    for number, line in enumerate(file, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 0


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
            cut_off = error.msg.startswith("Unterminated") or error.pos >= len(text) - 16
            if ended or not cut_off or len(text) - at > MOST:
                place = line + text.count("\n", at, error.pos)
                excerpt = text[max(0, error.pos - 30) : error.pos + 30]
                remedy = "the file is cut off: copy it again" if cut_off else "mend it: nothing behind it can be read"
                raise UserError(f"{name}:{place}: not JSON: {error.msg} at {excerpt!r}", remedy) from None
            read = file.read(CHUNK)
            text, at, ended = text[at:] + decode(read, not read), 0, not read
            continue
        if isinstance(value, dict) and "paragraphs" in value:
            for each in value["paragraphs"]:
                for asked in each["qas"]:
                    yield line, orjson.dumps({"title": value.get("title"), "context": each["context"], **asked})
        else:
            yield line, text[at:end].encode("utf-8", "surrogateescape")
        line += text.count("\n", at, end)
        at = end
