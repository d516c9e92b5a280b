"""Containers of rows by their content, whatever their names; what is none is called by its name."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data import containers
from tasks.data.readers import expand, read_lines
from tasks.engine.errors import UserError

ROWS = [
    {
        "query": f"How many oars hang in shed {n}?",
        "context": [f"Shed {n} holds {n} oars.", "Ä – “b”"],
        "answer": f"{n} oars",
    }
    for n in range(1, 1_200)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
TABLE = pa.Table.from_pylist(ROWS)


def archive(**files: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(re.sub("_(?=[a-z]+$)", ".", name), content)
    return written.getvalue()


def tarred(content: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as file:
        info = tarfile.TarInfo("deep/rows.jsonl")
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    return written.getvalue()


def table(write: Callable[[pa.BufferOutputStream], None]) -> bytes:
    sink = pa.BufferOutputStream()
    write(sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def arrow(open_: Callable[..., pa.ipc.RecordBatchStreamWriter]) -> bytes:
    def write(sink: pa.BufferOutputStream) -> None:
        with open_(sink, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=700)

    return table(write)


def cells(delimiter: str, show: Callable[[object], str], header: Iterable[str] = ROWS[0]) -> bytes:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows([row["query"], show(row["context"]), row["answer"]] for row in ROWS)
    return written.getvalue().encode()


PARQUET = table(lambda sink: pq.write_table(TABLE, sink, row_group_size=500))
ARRAY = json.dumps(ROWS).encode()
CONTAINERS: dict[str, bytes] = {
    "lines": LINES,
    "a byte order mark": b"\xef\xbb\xbf" + LINES,
    "two files with a mark each, joined": b"\xef\xbb\xbf" + LINES[:200_000].rpartition(b"\n")[0] + b"\n\xef\xbb\xbf"
    + LINES[len(LINES[:200_000].rpartition(b"\n")[0]) + 1 :],
    "UTF-16": LINES.decode().encode("utf-16"),
    "UTF-16 of the other order, no mark": LINES.decode().encode("utf-16-be"),
    "an array": ARRAY,
    "an array, printed": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "an array behind a mark": b"\xef\xbb\xbf\n" + ARRAY,
    "an array in UTF-16": ARRAY.decode().encode("utf-16"),
    "an object around an array": json.dumps({"version": "1.1", "count": 3, "data": ROWS}).encode(),
    "gzip": gzip.compress(LINES),
    "xz": lzma.compress(LINES),
    "bzip2": bz2.compress(LINES),
    "two bzip2 files, joined": bz2.compress(LINES[: len(LINES) // 2]) + bz2.compress(LINES[len(LINES) // 2 :]),
    "an array in gzip": gzip.compress(ARRAY),
    "zip": archive(rows_jsonl=LINES),
    "zip of an array and lines": archive(
        a_json=json.dumps(ROWS[:300]).encode(), b_jsonl=b"\n".join(LINES.split(b"\n")[300:])),
    "zip of Parquet": archive(rows_parquet=PARQUET),
    "tar": tarred(LINES),
    "tar in gzip": gzip.compress(tarred(LINES)),
    "Parquet": PARQUET,
    "Parquet in gzip": gzip.compress(PARQUET),
    "Arrow": arrow(pa.ipc.new_file),
    "an Arrow stream": arrow(pa.ipc.new_stream),
    "CSV with JSON in cells": cells(",", json.dumps),
    "CSV as pandas writes lists": cells(";", repr),
    "tabs": cells("\t", json.dumps),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_is_known_by_its_content_and_gives_its_rows(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(CONTAINERS[kind])
    found = list(read_lines(path))
    assert [json.loads(row) for _, row in found] == ROWS
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers) and numbers[0] >= 1


@pytest.mark.parametrize("header", [("Frage", "Kontext", "Lösung"), ("質問", "文脈", "回答")])
def test_a_table_may_name_its_fields_in_any_language(tmp_path: Path, header: tuple[str, ...]) -> None:
    path = tmp_path / "rows"
    path.write_bytes(cells(";", str, header))
    rows = [json.loads(row) for _, row in read_lines(path)]
    assert [set(row) for row in rows] == [set(header)] * len(ROWS)
    path.write_text('oops, all\n{"a": 1, "b": 2}\n')  # lines with a broken first one are no table
    assert [row for _, row in read_lines(path)] == [b"oops, all", b'{"a": 1, "b": 2}']


def test_the_rows_of_an_array_are_numbered_by_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "CHUNK", 7)
    path = tmp_path / "rows.json"
    path.write_text('{"data": [\n  {"a": "]},"},\n  {\n    "b": [1]\n  }\n, {"c": "é"} ]}')
    found = [(number, json.loads(row)) for number, row in read_lines(path)]
    assert found == [(2, {"a": "]},"}), (3, {"b": [1]}), (6, {"c": "é"})]


def test_squads_file_gives_a_row_for_each_question(tmp_path: Path) -> None:
    asked = [{"id": "1", "question": "Who?", "answers": []}, {"id": "2", "question": "When?", "answers": []}]
    article = {"title": "Shed", "paragraphs": [{"context": "Nobody knows.", "qas": asked}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "2.0", "data": [article]}))
    rows = [json.loads(row) for _, row in read_lines(path)]
    assert rows == [{"title": "Shed", "context": "Nobody knows.", **each} for each in asked]


REFUSED = {
    "a pickle": (pickle.dumps(ROWS), "a Python pickle", "read_pickle"),
    "a workbook": (archive(**{"[Content_Types].xml": b"<Types/>"}), "Excel", "read_excel"),
    "a database": (b"SQLite format 3\0" + bytes(100), "SQLite", "sqlite3"),
    "a page": (b"<html><body>rows</body></html>", "XML or HTML", "JSONL"),
    "an array that is cut off": (ARRAY[:5_000], "rows:1: not JSON", "cut off"),
    "an array with a fault": (b'[{"a": 1},\n {"b" 2},\n {"c": 3}]' + b" " * 99, "rows:2: not JSON", "mend"),
    "Parquet that is cut off": (PARQUET[:-9], "cannot be read", "again"),
    "xz that is cut off": (lzma.compress(LINES)[:-40], "cannot be read", "again"),
    "zip that is cut off": (archive(rows_jsonl=LINES)[:-40], "cannot be read", "again"),
    "CSV with a cell too many": (
        b"query,context,answer\nq,c,a\nq,c,a,b\n",
        "rows:3: not CSV: more cells",
        "delimiters",
    ),
    "CSV in Latin-1": ("query,context,answer\nOù?,Là.,Là.\n".encode("latin-1"), "not UTF-8: byte 0xf9", "UTF-8"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, kind: str) -> None:
    content, what, remedy = REFUSED[kind]
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        list(read_lines(path))
    assert what in raised.value.what and remedy in raised.value.remedy


def test_a_folder_of_datasets_is_read_without_what_describes_it(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS[:9]).save_to_disk(tmp_path / "saved")
    files = expand(str(tmp_path))
    assert [path.suffix for path in files] == [".arrow"]
    assert [json.loads(row) for _, row in read_lines(files[0])] == ROWS[:9]
