"""A published output, as its manifest describes it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from tasks.engine.digests import Digests
from tasks.engine.errors import UserError
from tasks.engine.inputs import leads_out, sha256_json
from tasks.engine.record import Record
from tasks.engine.step import check_part

MANIFEST = "manifest.json"
RECORD = "record.json"
STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
DIGEST = re.compile(r"[0-9a-f]{64}")
SHORT = 16  # hexadecimal digits of the key in a folder's name: 64 bits


@dataclass(frozen=True)
class Problem:
    """Why an artifact cannot be used; `missing` if the store has nothing of it."""

    text: str
    missing: bool = False

    def __str__(self) -> str:
        return self.text


MISSING = Problem("it is not in the store", missing=True)


class CorruptArtifact(UserError):
    """The artifact is gone or damaged."""


class Reader(Protocol):
    """What an artifact needs of its store."""

    @property
    def digests(self) -> Digests: ...

    def open(self, step: str, key: str) -> "Artifact | None": ...

    def fetch(self, artifact: "Artifact", names: Iterable[str]) -> Path: ...


@dataclass(frozen=True)
class Artifact:
    """A published output, or with `part` a sub-folder of one; an `Input` of later steps.

    `files` maps relative names to {"size": bytes, "sha256": hex}. Only files under `part` count towards the digest,
    so that a step which reads one part is untouched by changes to the others, and only they are fetched. `all_files`
    are those of the whole artifact, with the record. `made_ns` is when it was published, in nanoseconds since 1970 by
    the clock of the machine that made it.
    """

    step: str
    key: str
    files: dict[str, dict[str, Any]]
    manifest: bytes = field(repr=False)
    store: Reader = field(repr=False, compare=False)
    all_files: dict[str, dict[str, Any]] = field(repr=False, compare=False)
    made_ns: int = field(compare=False)
    part: str = ""
    parts: tuple[str, ...] | None = field(default=None, compare=False)

    @classmethod
    def from_manifest(cls, content: bytes, store: Reader) -> "Artifact | None":
        """The artifact of this manifest; None if a single byte of the manifest differs from what was written.

        Whoever may write to the store can write a valid manifest. So it is None as well if a file name leads out of the
        artifact's folder or a digest is not one: both become paths where files are fetched to.
        """
        try:
            fields = orjson.loads(content)
            step, key, files = fields["step"], fields["key"], fields["files"]
            if content != write_manifest(step, key, files, fields["made_ns"]) or not _is_sound(step, key, files):
                return None
            own = {name: each for name, each in files.items() if name != RECORD}
            return cls(step, key, own, content, store, all_files=files, made_ns=fields["made_ns"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None

    @property
    def digest(self) -> str:
        return sha256_json({name: each["sha256"] for name, each in self.files.items()})

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(each["size"] for each in self.files.values())

    @property
    def about(self) -> str:
        return folder_name(self.step, self.key) + (f"/{self.part}" if self.part else "")

    @property
    def record(self) -> Record:
        return Record.model_validate_json((self.store.fetch(self, [RECORD]) / RECORD).read_bytes())

    def input_artifact(self, name: str) -> "Artifact | None":
        """The artifact, or the part of one, that an input was; None if it is gone, or was none."""
        origin = self.record.inputs.get(name)
        found = self.store.open(origin.step, origin.key) if origin and origin.step and origin.key else None
        try:
            return found[origin.part] if found and origin and origin.part else found
        except KeyError:
            return None

    @property
    def has_record(self) -> bool:
        """Whether the record on this machine is as it was published."""
        try:
            path = self.store.fetch(self, [RECORD]) / RECORD
            wanted: str = self.all_files[RECORD]["sha256"]
            return self.store.digests.of(path) == wanted
        except OSError:
            return False

    @property
    def folder(self) -> Path:
        """The artifact's folder on this machine with its files; for a part, at least the part's files."""
        return self.store.fetch(self, [RECORD, *self.files])

    def local(self) -> Path:
        return self.folder / self.part

    def __getitem__(self, part: str) -> "Artifact":
        """The sub-folder `part` as an input of its own."""
        inside = {name: each for name, each in self.files.items() if name.startswith(f"{part}/")}
        folders = {name.partition("/")[0] for name in self.files if "/" in name}
        check_part(self.about, part, folders if self.parts is None else sorted(folders.intersection(self.parts)))
        return replace(self, files=inside, part=part, parts=())


def _is_sound(step: str, key: str, files: dict[str, dict[str, Any]]) -> bool:
    return (
        bool(STEP.fullmatch(step) and DIGEST.fullmatch(key))
        and RECORD in files
        and not any(leads_out(name) or name == MANIFEST for name in files)
        and all(DIGEST.fullmatch(each["sha256"]) and each["size"] >= 0 for each in files.values())
    )


def write_manifest(step: str, key: str, files: dict[str, dict[str, Any]], made_ns: int) -> bytes:
    """A manifest as bytes. Its digest covers every field, so that no change of a byte goes unnoticed."""
    fields = {"step": step, "key": key, "made_ns": made_ns, "files": files}
    return orjson.dumps({**fields, "digest": sha256_json(fields)}, option=orjson.OPT_INDENT_2)


def folder_name(step: str, key: str) -> str:
    """`train/3f2a9c01b7e4d582`: the artifact's folder in a store, and how people call it."""
    return f"{step}/{key[:SHORT]}"


def manifest_name(step: str, key: str) -> str:
    return f"{folder_name(step, key)}/{MANIFEST}"
