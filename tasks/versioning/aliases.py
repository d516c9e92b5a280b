"""Names for artifacts: `aliases/champion.json` says which artifact the name means, and is replaced at once."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from tasks.errors import UserError
from tasks.versioning.objects import Objects
from tasks.versioning.process import Process

ALIASES = "aliases"


@dataclass(frozen=True)
class Alias:
    """What a name means, since when (ISO 8601, UTC), and who said so."""

    name: str
    step: str
    key: str
    at: str
    by: str


def every(objects: Objects) -> dict[str, Alias]:
    names = (path.removeprefix(f"{ALIASES}/").removesuffix(".json") for path in objects.glob(f"{ALIASES}/*.json"))
    return {name: alias for name in names if (alias := read(objects, name))}


def read(objects: Objects, name: str) -> Alias | None:
    """Raises UserError if the alias is there and cannot be read: what it kept from `gc` is not to be guessed."""
    content = objects.read(_path(name))
    if content is None:
        return None
    try:
        return Alias(**orjson.loads(content))
    except (orjson.JSONDecodeError, TypeError):
        raise UserError(f"the alias {name!r} is damaged", "point it to an artifact again") from None


def write(objects: Objects, name: str, step: str, key: str) -> Alias:
    alias = Alias(name, step, key, datetime.now(UTC).isoformat(timespec="seconds"), str(Process.this()))
    objects.write(_path(name), orjson.dumps(alias, option=orjson.OPT_INDENT_2))
    return alias


def _path(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UserError(f"{name!r} is no name for an artifact", "use small letters, digits, `-`, `_` and `.`")
    return f"{ALIASES}/{name}.json"
