"""The facts that the engine keeps and hands out: how an artifact came to be, what changed since, what a plan says.

Frozen models with plain fields. `model_dump(mode="json")` of them is what the commands print with `--json`; sentences
are made from them in `flows/wording.py` and never read back.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

SCHEMA_VERSION = 2  # of records on disk; those of version 1 have no such field, and hold reasons as text


class Shards(BaseModel, frozen=True):
    """Files of rows that differ: `changed` of `total` are new or edited, `removed` of the earlier ones are gone."""

    changed: int
    removed: int
    total: int


class Change(BaseModel, frozen=True):
    """One difference between an artifact and a request for one like it.

    kind           name                              before and after
    config         field, "lora.r"                   values
    setting_added  field that the code did not have  value: its default
    input          input, "rows"                     what a person calls it; None if it was not given
    code           file, "tasks/score.py"
    moved          file, "tasks/score.py"            its path before; its definitions are the same
    library        distribution, "torch"             versions

    `changed`, `added` and `removed` are the definitions of a file of code, or the files of an input that is a folder.
    `rows_added` and `rows_removed` are None where rows cannot be counted. `share` is the part of an input that is new,
    in 0 … 1.
    """

    kind: Literal["config", "setting_added", "input", "code", "moved", "library"]
    name: str
    before: Any = None
    after: Any = None
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    shards: Shards | None = None
    rows_added: int | None = None
    rows_removed: int | None = None
    reordered: bool = False  # the same rows or files in another order
    share: float = 1.0


class Reason(BaseModel, frozen=True):
    """Why a step runs, or ran.

    `state` is what the store has for the key: no artifact (missing), one that an earlier run used and that is gone
    (deleted), or one with a `problem` (corrupt). `needs` are the labels of steps that run first; then the key is not
    known yet, and the state is missing. `changes` compare with the last artifact of the same label; without one there
    are none. `note` is the text of a record of schema version 1, or of whoever asked for the artifact.
    """

    state: Literal["missing", "deleted", "corrupt"] = "missing"
    problem: str | None = None
    needs: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    note: str | None = None


class Origin(BaseModel, frozen=True):
    """What an input was: an artifact or a part of one (`step`, `key`, `part`), or a source of the user's.

    `about` is what a person calls it; `files` are (name, SHA-256) of a source, in order.
    """

    digest: str | None = None
    about: str = ""
    step: str | None = None
    key: str | None = None
    part: str | None = None
    files: tuple[tuple[str, str], ...] = ()


class Adoption(BaseModel, frozen=True):
    """Who took an artifact over under a new key, from which one, why and when."""

    source: str  # train/3f2a9c01b7e4d582
    because: str
    by: str
    at: str


class Record(BaseModel, frozen=True):
    """How an artifact came to be. Only `payload` is identity; the rest is history.

    Fields have defaults because older records may lack them.
    """

    schema_version: int = SCHEMA_VERSION
    step: str = ""
    label: str = ""
    key: str = ""
    payload: dict[str, Any] = Field({}, description="What the key is the hash of.")
    config: dict[str, Any] = Field({}, description="The whole config, runtime fields included.")
    inputs: dict[str, Origin | None] = {}
    why: Reason = Reason()
    before: str | None = Field(None, description="Key of the artifact that `why` compares with.")
    adopted: Adoption | None = None
    made_at: str = ""
    measured: dict[str, int | float] = {}  # counts stay whole numbers
    made_by: dict[str, str] = {}
    python: str = ""
    platform: str = ""
    installed: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        return self.measured.get("seconds", 0.0)

    @property
    def libraries(self) -> dict[str, str]:
        found: dict[str, str] = self.payload.get("libraries", {})
        return found

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, record: Any) -> Any:
        """A record of schema version 1 in today's form; its reasons stay the text that they are."""
        if not isinstance(record, Mapping) or "schema_version" in record:
            return record
        if not isinstance(record.get("why", []), list):
            return record
        abouts = record.get("made_from") or {}
        inputs = {name: _origin(each, abouts.get(name)) for name, each in (record.get("inputs") or {}).items()}
        note = "; ".join(record.get("why", [])) or None
        found = {**record, "schema_version": 1, "inputs": inputs, "why": Reason(note=note)}
        if adopted := record.get("adopted"):
            found["adopted"] = {"source": adopted.get("from", ""), **adopted}
        return found


def _origin(origin: Mapping[str, Any] | None, about: str | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    files = origin.get("files") or ()  # version 1 had a mapping for a folder
    return {**origin, "about": about or "", "files": tuple(files.items() if isinstance(files, Mapping) else files)}


Status = Literal["fresh", "stale", "waits"]


class PlanLine(BaseModel, frozen=True):
    """One step of `reground plan --json`.

    `status` is fresh (the artifact is there and intact), stale (the step runs) or waits (a step before it runs first;
    should that write the same bytes as before, this one stays as it is). `key` is None while it is not known.
    `seconds` and `gpu_seconds` are what it costs by earlier records: 0 if fresh, None if it never ran. `why` is None if
    fresh.
    """

    label: str
    step: str
    status: Status
    why: Reason | None
    seconds: float | None
    gpu_seconds: float | None
    key: str | None
