"""A row's bytes as JSON; where they are none, what stands there and what to do."""

import ast
import json
from collections import Counter
from functools import cache
from typing import Any

import orjson

EXACT = 2.0**53  # from here on, a float may be a whole number that lost digits
AROUND = 30  # characters of a text that are quoted on each side of a place


class Malformed(ValueError):
    """A row that is no JSON, has none of the forms, or a field that cannot be read: the value, and the remedy."""

    def __init__(self, value: str, remedy: str) -> None:
        super().__init__(value, remedy)
        self.value = value
        self.remedy = remedy


def loads(raw: bytes) -> Any:
    """A row of JSON. NaN and whole numbers of any length are read as Python does. Malformed where it is none."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _as_python_does(raw)
    if isinstance(row, dict):
        for value in row.values():
            if type(value) is float and not -EXACT < value < EXACT:
                return json.loads(raw)
    elif isinstance(row, str) and row.lstrip()[:1] == "{":
        raise Malformed(
            f"JSON inside a JSON text: {shorten(raw.decode())}", "write the object itself: json.dumps once, not twice"
        )
    return row


def repeated_keys(raw: bytes, row: Any) -> list[str]:
    """The keys that an object of JSON has more than once; the last value counts."""
    if not isinstance(row, dict) or raw.count(b'":') == len(row) or not any(raw.count(_quoted(key)) > 1 for key in row):
        return []
    keys: list[Counter[str]] = []
    json.loads(raw, object_pairs_hook=lambda pairs: keys.append(Counter(key for key, _ in pairs)))
    return [key for key, count in keys[-1].items() if count > 1]  # the outermost object ends last


@cache
def _quoted(key: str) -> bytes:
    return f'"{key}"'.encode(errors="replace")


def shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _as_python_does(raw: bytes) -> Any:
    try:
        text = raw.decode()
        row = json.loads(text)
        json.dumps(row, ensure_ascii=False).encode()
        return row
    except json.JSONDecodeError as error:
        raise Malformed(*_why(text, error)) from None
    except UnicodeDecodeError as error:
        quoted = _around(raw.decode("utf-8", "backslashreplace"), len(raw[: error.start].decode("utf-8", "replace")))
        raise Malformed(
            f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start}: {quoted}",
            "decode the source with its own encoding, then write UTF-8",
        ) from None
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise Malformed(f"half a character: {half} without its other half", "write whole characters") from None
    except RecursionError:
        raise Malformed("not JSON: nested too deeply", "write one object with the fields of a row") from None


def _why(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """What is wrong with a line that is no JSON, quoted, and the remedy."""
    found = f"not JSON: {error.msg} at {error.pos}: {_around(text, error.pos)}"
    if text.startswith(("#", "//", "--", "/*")):
        return f"a comment: {shorten(text)}", "remove the line: JSON has no comments"
    if text.endswith(",") and _is_json(text[:-1]):
        return f"a comma behind the object: {_around(text, len(text))}", (
            "take the comma away, or put [ before the first line and ] behind the last"
        )
    if error.msg == "Extra data":
        return f"something behind the object: {_around(text, error.pos)}", "write each object on a line of its own"
    if text.startswith(("{'", "{u'")):
        try:
            ast.literal_eval(text)
            return f"a Python dict: {shorten(text)}", "write rows with json.dumps, not with str or print"
        except (ValueError, SyntaxError):
            pass
    if error.msg.startswith("Unterminated string") or error.pos >= len(text):
        return f"not JSON: it breaks off behind {_around(text, len(text))}", (
            "write a line break inside a text as \\n; if this is the last line, the file is cut off: copy it again"
        )
    if error.msg.startswith("Invalid \\") or error.msg.startswith("Invalid control"):
        return found, "write a backslash inside a text as \\\\, a tab as \\t, a line break as \\n"
    return found, "write one JSON object per line; json.dumps does"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _around(text: str, at: int) -> str:
    start, end = max(0, at - AROUND), min(len(text), at + AROUND)
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"
