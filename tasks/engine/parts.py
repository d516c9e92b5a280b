"""A step's work in parts, each done once: taken from an earlier artifact while what it is made of is the same.

parts = Parts(out, earlier, work, mapper)
for number, part in enumerate(parts.map(encode, pieces)):      # in order; only what is new is computed
    parts.link_into(part, tokens=f"train/{number:05}.arrow")         # out/train/00000.arrow, …
parts.write()                                                  # parts.json, by which later artifacts find them
"""

import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tasks.engine.code.cache import code_of
from tasks.engine.digests import digests
from tasks.engine.inputs import leads_out, sha256_file, sha256_json
from tasks.engine.key import installed, same_resources
from tasks.engine.mapper import Mapper, map_serial

PARTS = "parts.json"
RECORD = "record.json"
SEAL = 16  # hexadecimal digits of a record's SHA-256, in front of it

Result = tuple[dict[str, bytes], dict[str, Any]]  # files by name, and facts that fit into JSON
Index = dict[str, list[dict[str, Any]]]  # parts.json: function → {"given", "facts", "files": name → [place, SHA-256]}


class Piece(NamedTuple):
    """A piece of work: `given` is all that shapes the result besides the function's code, as JSON or a digest of it.

    `arguments` makes the arguments of the call; it is called only if the function has to run.
    """

    given: Any
    arguments: Callable[[], tuple[Any, ...]]


@dataclass(frozen=True)
class Part:
    """A function's result for one piece: facts, and paths of files."""

    function: str
    given: str
    facts: dict[str, Any]
    files: dict[str, Path]
    digests: dict[str, str]  # SHA-256 of each file


@dataclass
class Parts:
    """The parts of one run of a step.

    A part of an earlier artifact is trusted if all code that its function reaches, the libraries and the step's
    resources are what that artifact's record names; the store has verified the artifact's bytes. Finished parts are
    kept in `work`, so that a killed run does not do them again.
    """

    out: Path
    earlier: Sequence[Path] = ()
    work: Path | None = None
    mapper: Mapper = map_serial
    taken_over: int = 0
    made: int = 0
    _index: Index = field(default_factory=dict)
    _earlier_indexes: dict[Path, Index] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)  # below `out`, that were made

    def __post_init__(self) -> None:
        # Without a folder of the key's own, a temporary one: it goes when this object does.
        self._scratch = None if self.work else tempfile.TemporaryDirectory()
        self._folder = self.work or Path(self._scratch.name if self._scratch else "")

    def link_into(self, part: Part, **places: str) -> None:
        """Link, or copy, the part's files to these places below `out`; a file that it does not have is skipped."""
        files = {name: [place, part.digests[name]] for name, place in places.items() if name in part.files}
        for name, (place, _) in files.items():
            path = self.out / place
            if (folder := place.rpartition("/")[0]) not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(folder)
            with suppress(FileExistsError):  # an equal part has linked it
                digests().link(part.files[name], path)
        self._index.setdefault(part.function, []).append({"given": part.given, "facts": part.facts, "files": files})

    @property
    def counts(self) -> dict[str, float]:
        """For the record: a plan's estimate goes by them."""
        return {"parts_taken_over": self.taken_over, "parts_made": self.made}

    def write(self) -> None:
        """Write the index of all parts that were linked, by which later artifacts find them."""
        (self.out / PARTS).write_bytes(orjson.dumps(self._index))

    def note(self, function: Callable[..., Any], facts: Any) -> None:
        """Keep facts that a function found, for `noted` in later artifacts."""
        entry = {"given": function.__name__, "facts": facts, "files": {}}
        self._index.setdefault(function.__name__, []).append(entry)

    def map(
        self, function: Callable[..., Result], pieces: Iterable[Piece], *, mapper: Mapper | None = None
    ) -> Iterator[Part]:
        """The part of each piece, in order. `function` is pure; its result is {file name: bytes} and facts."""
        name = function.__name__
        known = self._finder(function)
        waiting: deque[tuple[str, Part | None]] = deque()

        def missing() -> Iterator[tuple[Any, ...]]:
            for piece in pieces:
                given = sha256_json(piece.given)
                part = known(given)
                waiting.append((given, part))
                self.taken_over += part is not None
                self.made += part is None
                if part is None:
                    yield piece.arguments()

        for files, facts in (mapper or self.mapper)(function, missing(), name=name):
            while (taken := waiting[0][1]) is not None:
                waiting.popleft()
                yield taken
            given, _ = waiting.popleft()
            yield self._keep(name, given, files, facts)
        yield from (taken for _, taken in waiting if taken)

    def begin(self, function: Callable[..., Result], piece: Piece) -> Callable[[], Part]:
        """Have one piece done in a thread, unless its part is known; what is returned waits for the part."""
        name, given = function.__name__, sha256_json(piece.given)
        known = self._finder(function)(given)
        self.taken_over += known is not None
        self.made += known is None
        if known is not None:
            return lambda: known
        pool = ThreadPoolExecutor(1)
        doing = pool.submit(function, *piece.arguments())
        pool.shutdown(wait=False)
        return lambda: self._keep(name, given, *doing.result())

    def _keep(self, name: str, given: str, files: dict[str, bytes], facts: dict[str, Any]) -> Part:
        """Write the part to `work`: its files, then the note that names them with their digests."""
        folder = self._folder / name / given
        folder.mkdir(parents=True, exist_ok=True)
        for each, content in files.items():
            (folder / each).write_bytes(content)
        digests = {each: sha256_file(folder / each) for each in files}
        note = folder / "note.json"
        note.with_suffix(".new").write_bytes(orjson.dumps({"facts": facts, "files": digests}))
        note.with_suffix(".new").rename(note)
        # Facts as JSON has them, so that a new part and one that was read again are equal.
        return Part(name, given, orjson.loads(orjson.dumps(facts)), {each: folder / each for each in files}, digests)

    def _finder(self, function: Callable[..., Result]) -> Callable[[str], Part | None]:
        """Finds the part that this function has made of what is given, if there is one: in `work`, else the newest."""
        name = function.__name__
        code = code_of(function.__module__, name)
        done = self._of_work(name)
        earlier = [(folder, self._of_artifact(folder, name, code)) for folder in self.earlier]

        def find(given: str) -> Part | None:
            if given in done:
                return done[given]
            return next((_read(folder, name, parts[given]) for folder, parts in earlier if given in parts), None)

        return find

    def _of_work(self, name: str) -> dict[str, Part]:
        """The parts that a killed run of the same key had finished, each file as it was written."""
        found: dict[str, Part] = {}
        for note in (self._folder / name).glob("*/note.json"):
            entry = orjson.loads(note.read_bytes())
            files = {each: note.parent / each for each in entry["files"]}
            if all(path.is_file() and sha256_file(path) == entry["files"][each] for each, path in files.items()):
                found[note.parent.name] = Part(name, note.parent.name, entry["facts"], files, entry["files"])
        return found

    def _of_artifact(self, folder: Path, name: str, code: dict[str, str]) -> dict[str, dict[str, Any]]:
        if folder not in self._earlier_indexes:
            self._earlier_indexes[folder] = read_index(folder)
        entries = self._earlier_indexes[folder].get(name)
        return {each["given"]: each for each in entries} if entries and _same_code(folder, code) else {}


def noted(function: Callable[..., Any], earlier: Iterable[Path]) -> Iterator[Any]:
    """What `Parts.note` was given in earlier artifacts, in their order, while the function's code is the same."""
    name, code = function.__name__, code_of(function.__module__, function.__name__)
    for folder in earlier:
        entries = read_index(folder).get(name)
        if entries and _same_code(folder, code):
            yield from (each["facts"] for each in entries)


def read_index(folder: Path) -> Index:
    """An artifact's index of parts; empty if it has none, or if a place in it lies outside of the folder."""
    path = folder / PARTS
    index: Index = orjson.loads(path.read_bytes()) if path.is_file() else {}
    places = (place for parts in index.values() for part in parts for place, _ in part["files"].values())
    return {} if any(map(leads_out, places)) else index


def _same_code(folder: Path, code: dict[str, str]) -> bool:
    """Whether an artifact was made with this code, these libraries and the step's resources; no without a record."""
    record = folder / RECORD
    payload = orjson.loads(record.read_bytes())["payload"] if record.is_file() else {"code": {}, "libraries": {}}
    return (
        not code.items() - payload["code"].items()
        and payload["libraries"] == installed(payload["libraries"])
        and same_resources(payload["code"])
    )


def _read(folder: Path, name: str, entry: dict[str, Any]) -> Part:
    files = {each: folder / place for each, (place, _) in entry["files"].items()}
    digests = {each: digest for each, (_, digest) in entry["files"].items()}
    return Part(name, entry["given"], entry["facts"], files, digests)


class Journal:
    """An append-only file of JSON records, each sealed by a digest, so that a killed step does no piece of work twice.

    `records` are those of earlier processes. What follows a damaged record is dropped, and its work is done again. One
    process writes at a time: the one that holds the key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = path.read_bytes() if path.exists() else b""
        intact = list(_intact(content))
        self.records: list[Any] = [orjson.loads(line[SEAL:]) for line in intact]
        kept = sum(map(len, intact))
        if kept < len(content):
            with path.open("r+b") as file:
                file.truncate(kept)

    def append(self, record: Any) -> None:
        """Keep a record of plain data; it outlives this process once the call returns."""
        text = orjson.dumps(record)
        with self._path.open("ab") as file:
            file.write(_seal(text) + text + b"\n")


def _intact(content: bytes) -> Iterator[bytes]:
    """The leading lines that are as they were written."""
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or line[:SEAL] != _seal(line[SEAL:-1]):
            return
        yield line


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:SEAL].encode()
