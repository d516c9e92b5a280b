"""Names for artifacts: `aliases/serving.json` says which artifact the name means, and is replaced at once.

Three names nobody gives: `champion`, `previous` and `challenger` are what the newest entry of the promotion log says.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from flows.promotion import promotion_log
from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import SHORT
from tasks.engine.storage.objects import Objects
from tasks.engine.storage.process import Process

ALIASES = "aliases"
ROLES = ("champion", "previous", "challenger")


@dataclass(frozen=True)
class Alias:
    """What a name means, since when (ISO 8601, UTC), and who said so."""

    name: str
    step: str
    key: str
    at: str
    by: str


def every(objects: Objects) -> dict[str, Alias]:
    return {**_roles(objects), **given(objects)}


def given(objects: Objects) -> dict[str, Alias]:
    """Those that people gave. Raises UserError if one cannot be read, as `read` does."""
    return {name: alias for name in _listed(objects) if name not in ROLES and (alias := read(objects, name))}


def without_meaning(objects: Objects) -> list[str]:
    """Files that give a name which only the promotion log gives."""
    return [name for name in _listed(objects) if name in ROLES]


def read(objects: Objects, name: str) -> Alias | None:
    """Raises UserError if the alias is there and cannot be read: what it kept from `gc` is not to be guessed."""
    if name in ROLES:
        return _roles(objects).get(name)
    content = objects.read(_path(name))
    if content is None:
        return None
    try:
        return Alias(**orjson.loads(content))
    except (orjson.JSONDecodeError, TypeError):
        raise UserError(f"the alias {name!r} is damaged", "point it to an artifact again") from None


def write(objects: Objects, name: str, step: str, key: str) -> Alias:
    if name in ROLES:
        raise UserError(
            f"{name!r} is what the promotion log says, and no name to give",
            f"`reground promote {step}/{key[:SHORT]} --force --because …` makes it the champion, on the record",
        )
    alias = Alias(name, step, key, datetime.now(UTC).isoformat(timespec="seconds"), str(Process.this()))
    objects.write(_path(name), orjson.dumps(alias, option=orjson.OPT_INDENT_2))
    return alias


def _roles(objects: Objects) -> dict[str, Alias]:
    found = {}
    for name, role in promotion_log.state(objects).roles().items():
        entry = promotion_log.entry(objects, role.since)
        found[name] = Alias(name, role.step, role.key, entry.at, entry.who)
    return found


def _listed(objects: Objects) -> list[str]:
    return [path.removeprefix(f"{ALIASES}/").removesuffix(".json") for path in objects.glob(f"{ALIASES}/*.json")]


def _path(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UserError(f"{name!r} is no name for an artifact", "use small letters, digits, `-`, `_` and `.`")
    return f"{ALIASES}/{name}.json"
