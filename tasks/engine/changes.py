"""What changed between an artifact and a request for one like it: down to the field, the file, the function."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.engine.code.reach import HALF, file_of
from tasks.engine.code.source import FIELDS, ON_IMPORT
from tasks.engine.inputs import Input, Source
from tasks.engine.key import Payload, Request
from tasks.engine.record import Change, Origin, Record, Shards
from tasks.engine.step import Config
from tasks.engine.storage.artifact import Artifact

NUMBERED = re.compile(r"(.*/)?\d{4,}(\.\w+)?")  # rows/00000.arrow: a shard, whatever its number
CHECKSUMS = "source"  # folder of files, one per shard and named by its digest, with 4 bytes for each row
ON_IMPORT_SHOWN = "its top level"


def changes(before: Artifact, request: Request) -> tuple[Change, ...]:
    """Everything that differs; of inputs that have still to be made, nothing."""
    record = before.record
    old, new = record.payload, request.payload
    return (
        *_config(old, new, request.config),
        *(change for name, given in request.inputs.items() if (change := _input(name, before, record, given))),
        *_code(old, new),
        *(
            Change(kind="library", name=name, before=earlier, after=now)
            for name, earlier, now in _leaves(old.get("libraries", {}), new["libraries"])
        ),
    )


def _config(old: Payload, new: Payload, config: Config) -> Iterator[Change]:
    had = old.get("config", {})
    for name, before, after in _leaves(had, new["config"]):
        if _came_with_the_code(name, had, config):
            yield Change(kind="setting_added", name=name, after=after)
        else:
            yield Change(kind="config", name=name, before=before, after=after)


def _came_with_the_code(name: str, had: Mapping[str, Any], config: Any) -> bool:
    """Whether the field did not exist when the artifact was made, and has its default now."""
    *sections, leaf = name.split(".")
    for section in sections:
        had, config = had.get(section, {}), getattr(config, section, None)
    if not isinstance(config, Config) or leaf in had:
        return False
    field = type(config).model_fields.get(leaf)
    return field is not None and bool(getattr(config, leaf) == field.get_default(call_default_factory=True))


def _code(old: Payload, new: Payload) -> Iterator[Change]:
    """One change per file, with the functions in it: what the code digest names `tasks.score:score`."""
    had, has = dict(old.get("code", {})), dict(new["code"])
    for (earlier, now), moved in _take_moved(had, has).items():
        yield Change(kind="moved", name=now, before=earlier, changed=tuple(map(_symbol, moved)))
    differing = list(_leaves(had, has))
    # A name that means another definition now is a change of its own only where no text differs.
    edited = [(name, b, a) for name, b, a in differing if not (b and a and b[:HALF] == a[:HALF])]
    by_file: dict[str, dict[str, list[str]]] = {}
    for name, before, after in edited or differing:
        module, _, symbol = name.partition(":")
        how = "changed" if before and after else "added" if after else "removed"
        by_file.setdefault(file_of(module), {}).setdefault(how, []).append(_symbol(symbol))
    for file, found in sorted(by_file.items()):
        symbols = {how: tuple(filter(None, names)) for how, names in found.items()}  # a resource has none
        yield Change(kind="code", name=file, **symbols)


def _take_moved(old: dict[str, str], new: dict[str, str]) -> dict[tuple[str, str], list[str]]:
    """Take out of both the definitions that only their file changed: same name, same text, and all names mean the same.

    Returns {(file before, file after): names}.
    """
    gone = {(name.partition(":")[2], old[name]): name for name in old.keys() - new.keys() if ":" in name}
    moved: dict[tuple[str, str], list[str]] = {}
    for name in sorted(new.keys() - old.keys()):
        module, _, symbol = name.partition(":")
        if before := gone.pop((symbol, new[name]), None):
            moved.setdefault((file_of(before.partition(":")[0]), file_of(module)), []).append(symbol)
            del old[before], new[name]
    return moved


def _symbol(name: str) -> str:
    return ON_IMPORT_SHOWN if name == ON_IMPORT else name.replace(FIELDS, "'s fields")


def _input(name: str, before: Artifact, record: Record, given: Input | None) -> Change | None:
    old = record.payload.get("inputs", {}).get(name)
    if given and given.digest is None:
        return None  # the step that makes it has still to run
    if old == (given.digest if given else None):
        return None
    origin = record.inputs.get(name) or Origin()
    if not (old and given):
        return Change(kind="input", name=name, before=origin.about if old else None, after=given and given.about)
    if isinstance(given, Source):
        return given.change(name, origin, before.folder)
    change = Change(kind="input", name=name)
    earlier = before.input_artifact(name)
    return _shards(change, earlier, given) if earlier and isinstance(given, Artifact) else change


def _shards(change: Change, old: Artifact, new: Artifact) -> Change:
    """With the numbers of shards and rows, where both artifacts consist of shards."""
    before, after = _numbered(old), _numbered(new)
    if not after or not before:
        return change
    made, total = (after - before).total(), after.total()
    removed = max(0, (before - after).total() - made)
    if not made and not removed:
        return change.model_copy(update={"reordered": True, "share": 0.0})
    shards = Shards(changed=made, removed=removed, total=total)
    return change.model_copy(update={"shards": shards, "share": made / total, **_rows(old, new)})


def _rows(old: Artifact, new: Artifact) -> dict[str, int]:
    """Rows added and removed, by the checksums of the shards that differ; nothing if an artifact has none."""
    before, after = _checksums(old), _checksums(new)
    if not before or not after:
        return {}
    return row_changes(_contents(old, before - after), _contents(new, after - before))


def row_changes(before: Iterable[bytes], after: Iterable[bytes]) -> dict[str, int]:
    """Rows added and removed, by the contents of files of checksums, with 4 bytes for each row."""
    less, more = (
        Counter(each[i : i + 4] for each in contents for i in range(0, len(each), 4)) for contents in (before, after)
    )
    return {"rows_added": (more - less).total(), "rows_removed": (less - more).total()}


def _checksums(artifact: Artifact) -> set[str]:
    return {name for name in artifact.all_files if name.startswith(f"{CHECKSUMS}/")}


def _contents(artifact: Artifact, names: set[str]) -> Iterator[bytes]:
    folder = artifact.store.fetch(artifact, names)
    return ((folder / name).read_bytes() for name in names)


def _numbered(artifact: Artifact) -> Counter[str]:
    return Counter(each["sha256"] for name, each in artifact.files.items() if NUMBERED.fullmatch(name))


def _leaves(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, before, after) of every leaf that differs; None where there is none."""
    for name in [*old, *(n for n in new if n not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _leaves(before, after, f"{prefix}{name}.")
        elif before != after:
            yield prefix + name, before, after
