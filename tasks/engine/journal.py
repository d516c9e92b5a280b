"""Finished pieces of work, kept as they come, so that a killed step does none of them twice."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

SEAL = 16  # hexadecimal digits of a record's SHA-256, in front of it


class Journal:
    """An append-only file of JSON records, of which each counts whole or not at all.

    `records` are those that earlier processes left. What follows a torn or rotten record is dropped, and its work
    done again. One process writes at a time: the one that holds the key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = path.read_bytes() if path.exists() else b""
        whole = list(_whole(content))
        self.records: list[Any] = [orjson.loads(line[SEAL:]) for line in whole]
        kept = sum(map(len, whole))
        if kept < len(content):
            with path.open("r+b") as file:
                file.truncate(kept)

    def append(self, record: Any) -> None:
        """Keep a record of plain data; it outlives this process once the call returns."""
        text = orjson.dumps(record)
        with self._path.open("ab") as file:
            file.write(_seal(text) + text + b"\n")


def _whole(content: bytes) -> Iterator[bytes]:
    """The leading lines that are as they were written."""
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or line[:SEAL] != _seal(line[SEAL:-1]):
            return
        yield line


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:SEAL].encode()
