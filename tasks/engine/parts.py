"""A step's work in parts, each done once: taken from an earlier artifact while what it is made of is the same.

parts = Parts(out, earlier, work, mapper)
for number, part in enumerate(parts.map(encode, pieces)):      # in order; only what is new is computed
    parts.lay(part, tokens=f"train/{number:05}.arrow")         # out/train/00000.arrow, …
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
from tasks.engine.key import installed
from tasks.engine.mapper import Mapper, map_serial

PARTS = "parts.json"
RECORD = "record.json"
SEAL = 16  # hexadecimal digits of a record's SHA-256, in front of it

Made = tuple[dict[str, bytes], dict[str, Any]]  # files by name, and facts that fit into JSON


class Piece(NamedTuple):
    """A piece of work: `given` is whatever shapes its outcome beside the function's code, as JSON or a digest of it.

    `arguments` makes what the function is called with; it is asked only if the function has to run.
    """

    given: Any
    arguments: Callable[[], tuple[Any, ...]]


@dataclass(frozen=True)
class Part:
    """What a function made of a piece: its facts, and where its files lie just now."""

    function: str
    given: str
    facts: dict[str, Any]
    files: dict[str, Path]
    digests: dict[str, str]  # SHA-256 of each file


@dataclass
class Parts:
    """The parts of one run of a step.

    A part of an earlier artifact is trusted if all code that its function reaches, and the libraries, are what that
    artifact's record names; the store has verified the artifact's bytes. Finished parts are kept in `work`, so that a
    killed run does not do them again.
    """

    out: Path
    earlier: Sequence[Path] = ()
    work: Path | None = None
    mapper: Mapper = map_serial
    taken_over: int = 0
    made: int = 0
    _told: dict[Path, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)  # by earlier artifacts
    _laid: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)  # below `out`, that were made

    def __post_init__(self) -> None:
        # Without a folder of the key's own, a temporary one: it goes when this object does.
        self._scratch = None if self.work else tempfile.TemporaryDirectory()
        self._folder = self.work or Path(self._scratch.name if self._scratch else "")

    def lay(self, part: Part, **places: str) -> None:
        """Put the part's files at these places below `out`, linked if it can be; a file that it has not is skipped."""
        for name, place in places.items():
            if name in part.files:
                path = self.out / place
                if (folder := place.rpartition("/")[0]) not in self._folders:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._folders.add(folder)
                with suppress(FileExistsError):  # laid by an equal part
                    digests().link(part.files[name], path)
        files = {name: [place, part.digests[name]] for name, place in places.items() if name in part.files}
        self._laid.setdefault(part.function, []).append({"given": part.given, "facts": part.facts, "files": files})

    @property
    def counts(self) -> dict[str, float]:
        """For the record: a plan's estimate goes by them."""
        return {"parts_taken_over": self.taken_over, "parts_made": self.made}

    def write(self) -> None:
        """Name every part that was laid, for later artifacts to find."""
        (self.out / PARTS).write_bytes(orjson.dumps(self._laid))

    def note(self, function: Callable[..., Any], facts: Any) -> None:
        """Keep what a function has told on the way, for `noted` in later artifacts."""
        told = {"given": function.__name__, "facts": facts, "files": {}}
        self._laid.setdefault(function.__name__, []).append(told)

    def map(
        self, function: Callable[..., Made], pieces: Iterable[Piece], *, mapper: Mapper | None = None
    ) -> Iterator[Part]:
        """The part of each piece, in order. `function` is pure, and its outcome is {file name: bytes} and facts."""
        name = function.__name__
        known = self._known(function)
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

    def begin(self, function: Callable[..., Made], piece: Piece) -> Callable[[], Part]:
        """Have one piece done in a thread, unless its part is known; what is returned waits for the part."""
        name, given = function.__name__, sha256_json(piece.given)
        known = self._known(function)(given)
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
        # Facts as JSON has them, so that a new part and one that was read again are alike.
        return Part(name, given, orjson.loads(orjson.dumps(facts)), {each: folder / each for each in files}, digests)

    def _known(self, function: Callable[..., Made]) -> Callable[[str], Part | None]:
        """Finds the part that this function has made of what is given, if there is one: in `work`, else the newest."""
        name = function.__name__
        code = code_of(function.__module__, name)
        done = self._of_work(name)
        earlier = [(folder, self._of_artifact(folder, name, code)) for folder in self.earlier]

        def find(given: str) -> Part | None:
            if given in done:
                return done[given]
            return next((_read(folder, name, told[given]) for folder, told in earlier if given in told), None)

        return find

    def _of_work(self, name: str) -> dict[str, Part]:
        """The parts that a killed run of the same key had finished, each file as it was written."""
        found: dict[str, Part] = {}
        for note in (self._folder / name).glob("*/note.json"):
            told = orjson.loads(note.read_bytes())
            files = {each: note.parent / each for each in told["files"]}
            if all(path.is_file() and sha256_file(path) == told["files"][each] for each, path in files.items()):
                found[note.parent.name] = Part(name, note.parent.name, told["facts"], files, told["files"])
        return found

    def _of_artifact(self, folder: Path, name: str, code: dict[str, str]) -> dict[str, dict[str, Any]]:
        if folder not in self._told:
            self._told[folder] = _told_by(folder)
        told = self._told[folder].get(name)
        return {each["given"]: each for each in told} if told and _same_code(folder, code) else {}


def noted(function: Callable[..., Any], earlier: Iterable[Path]) -> Iterator[Any]:
    """What `Parts.note` was given in earlier artifacts, in their order, while the function's code is the same."""
    name, code = function.__name__, code_of(function.__module__, function.__name__)
    for folder in earlier:
        told = _told_by(folder).get(name)
        if told and _same_code(folder, code):
            yield from (each["facts"] for each in told)


def _told_by(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What an artifact tells of its parts, by function."""
    path = folder / PARTS
    told: dict[str, list[dict[str, Any]]] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    if any(leads_out(place) for parts in told.values() for part in parts for place, _ in part["files"].values()):
        return {}  # who wrote that would have us link files from anywhere
    return told


def _same_code(folder: Path, code: dict[str, str]) -> bool:
    """Whether an artifact was made with this code, and with the libraries that are installed; no without a record."""
    record = folder / RECORD
    payload = orjson.loads(record.read_bytes())["payload"] if record.is_file() else {"code": {}, "libraries": {}}
    return not code.items() - payload["code"].items() and payload["libraries"] == installed(payload["libraries"])


def _read(folder: Path, name: str, told: dict[str, Any]) -> Part:
    files = {each: folder / place for each, (place, _) in told["files"].items()}
    digests = {each: digest for each, (_, digest) in told["files"].items()}
    return Part(name, told["given"], told["facts"], files, digests)


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
