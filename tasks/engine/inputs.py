"""What a step is made from: things with a content digest and a place on this machine.

The digest says what it is and enters the key; the place says where it lies just now and never does.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson

from tasks.engine.digests import digests


class Input(Protocol):
    """What a step can be given: identity, and a way to lay it on this machine's disk."""

    @property
    def digest(self) -> str | None:
        """Content identity; None while the step that makes it has still to run."""

    @property
    def about(self) -> str:
        """What a person would call it, for records and explanations."""

    def local(self) -> Path | list[Path]:
        """Where it lies; fetches it if it is not here."""


class Output(Input, Protocol):
    """What a call of a step gives: an input of later steps, and so is each part of it that the step declares."""

    def __getitem__(self, part: str) -> Input: ...


@runtime_checkable
class Told(Protocol):
    """An input that can say what about it changed."""

    def detail(self) -> dict[str, Any]:
        """What to keep on the record, as JSON, so as to tell later what changed."""

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        """What changed since: `tokenizer.json changed`. None if that cannot be told.

        `before` is the earlier `detail`, with the earlier `about`.
        """


@runtime_checkable
class Partly(Told, Protocol):
    """One that can say how much of it did."""

    def share(self, before: dict[str, Any]) -> float:
        """The part of it that is new since, in 0 … 1."""


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Digest of plain data: keys sorted, so that writing order and PYTHONHASHSEED do not matter."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def files_below(folder: Path) -> dict[str, Path]:
    """Relative POSIX name → path of every file, sorted by name; hidden files are nobody's content."""
    found = (p for p in folder.rglob("*") if p.is_file())
    named = {p.relative_to(folder).as_posix(): p for p in found}
    return {n: named[n] for n in sorted(named) if not any(part.startswith(".") for part in n.split("/"))}


def _digests_of(paths: Iterable[Path]) -> list[str]:
    """SHA-256 of each file; one that nobody touched since an earlier run is not read again."""
    known = digests()
    found = [known.of(path) for path in paths]
    known.commit()
    return found


@dataclass(frozen=True)
class Files:
    """Files of the user's, in order; renaming or moving them changes nothing."""

    paths: tuple[Path, ...]

    @cached_property
    def digest(self) -> str:
        return sha256_json(_digests_of(self.paths))

    @property
    def about(self) -> str:
        return ", ".join(path.name for path in self.paths[:3]) + (" …" if len(self.paths) > 3 else "")

    def local(self) -> list[Path]:
        return list(self.paths)

    def detail(self) -> dict[str, Any]:
        return {"files": [[path.name, digest] for path, digest in self._digests()]}

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        files = [(path.name, digest) for path, digest in self._digests()]
        return _files_changed([(name, digest) for name, digest in before.get("files", [])], files)

    def _digests(self) -> list[tuple[Path, str]]:
        return list(zip(self.paths, _digests_of(self.paths), strict=True))


@dataclass(frozen=True)
class Local:
    """A file by its bytes, or a folder by the names and bytes of its files: a prompt template, a base model on disk."""

    path: Path

    @cached_property
    def digest(self) -> str:
        if self.path.is_file():
            return _digests_of([self.path])[0]
        return sha256_json(self._digests())

    @property
    def about(self) -> str:
        return self.path.name

    def local(self) -> Path:
        return self.path

    def detail(self) -> dict[str, Any]:
        return {} if self.path.is_file() else {"files": self._digests()}

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        if self.path.is_file() or not before.get("files"):
            return _renamed(before, self.about)
        old, new = list(before["files"].items()), list(self._digests().items())
        return _renamed(before, self.about) if not set(old) & set(new) else _files_changed(old, new)

    def _digests(self) -> dict[str, str]:
        files = files_below(self.path)
        return dict(zip(files, _digests_of(files.values()), strict=True))


@dataclass(frozen=True)
class HubModel:
    """A model of the hub, by its commit; downloaded when a step first needs it."""

    name: str
    commit: str
    token: str | None = field(default=None, repr=False)

    @property
    def digest(self) -> str:
        return f"{self.name}@{self.commit}"

    @property
    def about(self) -> str:
        return f"{self.name}@{self.commit[:8]}"

    def local(self) -> Path:
        from tasks.engine.hub import download

        return download(self.name, self.commit, self.token)

    def detail(self) -> dict[str, Any]:
        return {}

    def changes(self, before: dict[str, Any]) -> list[str] | None:
        return _renamed(before, self.about)


def _renamed(before: dict[str, Any], about: str) -> list[str] | None:
    """`inst.jinja → qwen.jinja`, or `inst.jinja changed` if that was its name before."""
    earlier = before.get("about")
    return [f"{earlier} → {about}" if earlier and earlier != about else f"{about} changed"]


def _files_changed(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> list[str] | None:
    """`config.json, tokenizer.json changed`, from (name, digest) of each file; a file that moved is none."""
    before, after = dict(old), dict(new)
    here, there = {digest for _, digest in old}, {digest for _, digest in new}
    found = {
        "changed": [name for name in after if name in before and after[name] != before[name]],
        "added": [name for name in after if name not in before and after[name] not in here],
        "gone": [name for name in before if name not in after and before[name] not in there],
    }
    texts = [f"{few(names)} {how}" for how, names in found.items() if names]
    return texts or (["files in another order"] if old else None)


def few(names: list[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


Inputs = Mapping[str, Input | None]
