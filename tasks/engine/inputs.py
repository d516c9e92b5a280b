"""What a step is made from: things with a content digest and a place on this machine.

The digest says what it is and enters the key; the place says where it lies now and never does.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import orjson

from tasks.engine.code import not_in_key
from tasks.engine.digests import digests
from tasks.engine.errors import Unreachable, UserError, is_transient, status_of
from tasks.engine.record import Change, Origin

FileDigests = tuple[tuple[str, str], ...]  # (name, SHA-256) of each file
# Safetensors only: a pickle can run code when it is loaded.
# Python files are for people to read; they run only if trust_remote_code names their digest.
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py", "*.md"]  # a card tells the licence


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
class Source(Protocol):
    """An input of the user's: not made by a step. It can say what about it changed."""

    def listing(self) -> FileDigests:
        """What to keep on the record so as to tell later what changed."""

    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        """What changed since. `name` is the input's; `artifact` is the folder of what was made from the earlier one."""


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Digest of plain data: keys sorted, so that writing order and PYTHONHASHSEED do not matter."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def leads_out(name: str) -> bool:
    """Whether a name is not a plain relative one, and could lead out of the place that it is looked up in."""
    return "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/"))


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

    def listing(self) -> FileDigests:
        return tuple(zip((path.name for path in self.paths), _digests_of(self.paths), strict=True))

    @not_in_key("people are told what changed")
    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        return files_change(name, before, self.about, self.listing())


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

    def listing(self) -> FileDigests:
        return () if self.path.is_file() else tuple(self._digests().items())

    @not_in_key("people are told what changed")
    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        return files_change(name, before, self.about, self.listing())

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
        return download(self.name, self.commit, self.token)

    def listing(self) -> FileDigests:
        return ()

    @not_in_key("people are told what changed")
    def change(self, name: str, before: Origin, artifact: Path) -> Change:
        return files_change(name, before, self.about, ())


def files_change(name: str, before: Origin, about: str, files: FileDigests) -> Change:
    """Which files changed, came and went; one that only moved is none of these. Nothing about files if all differ."""
    change = Change(kind="input", name=name, before=before.about or about, after=about)
    old, new = dict(before.files), dict(files)
    common = {each for each in new.values() if each in set(old.values())}
    if not common:
        return change
    found = {
        "changed": tuple(each for each in new if each in old and new[each] != old[each]),
        "added": tuple(each for each in new if each not in old and new[each] not in common),
        "removed": tuple(each for each in old if each not in new and old[each] not in common),
    }
    return change.model_copy(update={**found, "reordered": not any(found.values())})


Inputs = Mapping[str, Input | None]


def download(name: str, commit: str, token: str | None) -> Path:
    """The folder of a model at a commit; of the hub is asked what is not on this machine yet.

    Raises Unreachable if the hub is away, UserError if it does not give the model out.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=WANTED, token=token))
    except Exception as error:
        what = f"base.model: cannot download {name}@{commit[:8]}: {brief(error)}"
        if is_transient(error):
            raise Unreachable(what, "check the network, then run again: files that are here stay") from error
        if status_of(error) in (401, 403, 404):
            raise UserError(
                what, "check the name; for a gated model accept its licence on its page and run `hf auth login`"
            ) from error
        if isinstance(error, LocalEntryNotFoundError):
            raise UserError(what, "unset HF_HUB_OFFLINE, or set base.model to a folder that has it") from error
        raise


def brief(error: BaseException) -> str:
    """The first line of an error, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
