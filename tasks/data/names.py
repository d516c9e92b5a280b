"""What `forms.yaml` knows of the names that rows have elsewhere."""

import re
from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

FILE = "tasks/data/forms.yaml"  # a resource of each step that reads rows
_HERE = Path(__file__).with_name("forms.yaml")


class Preset(BaseModel, frozen=True, extra="forbid"):
    """How a kind of rows that others publish is read."""

    title: str
    signs: list[list[str]]  # a row with all of one list's fields looks like it
    fields: dict[str, list[str]]  # our name → places, of which the first that a row has is read


class Foreign(BaseModel, frozen=True, extra="forbid"):
    """A container that is not read."""

    begins: str  # its first bytes, as Latin-1
    is_: str = Field(alias="is")
    command: str  # what turns it into rows


class Names(BaseModel, frozen=True, extra="forbid"):
    presets: dict[str, Preset]
    synonyms: dict[str, list[str]]
    documents: list[str]
    passage: list[str]
    title: list[str]
    labels: dict[str, list[str]]
    chats: list[re.Pattern[str]]
    roles: dict[str, str]
    no_answer: frozenset[str]
    office: str  # what turns an Excel workbook into rows
    foreign: list[Foreign]

    @field_validator("chats", mode="before")
    @classmethod
    def _compiled(cls, patterns: list[str]) -> list[re.Pattern[str]]:
        return [re.compile(pattern, re.S) for pattern in patterns]


@cache
def names() -> Names:
    import yaml

    text = _HERE.read_text(encoding="utf-8")
    return Names.model_validate(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@cache
def names_digest() -> str:
    """SHA-256 of the file: what a part of an earlier artifact must have been made with."""
    return sha256(_HERE.read_bytes()).hexdigest()
