"""What changed between an artifact and a request for one like it: down to the field, the file, the function."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.engine.code.reach import file_of
from tasks.engine.code.source import FIELDS, ON_IMPORT
from tasks.engine.inputs import Input, Partly, Told, few
from tasks.engine.key import Payload, Request
from tasks.engine.step import Config
from tasks.engine.storage.artifact import Artifact

NUMBERED = re.compile(r"(.*/)?\d{4,}(\.\w+)?")  # rows/00000.arrow: a shard, whatever its number
CHECKSUMS = "source"  # folder of files, one per shard and named by its digest, with 4 bytes for each row
Kind = Literal["config", "field", "input", "code", "library"]


@dataclass(frozen=True)
class Change:
    """`text` is what a person reads: "config.lora.r 8 → 16"; `share` the part of an input that is new, in 0 … 1.

    A `field` is a setting that there was not when the artifact was made, and that nobody has set since.
    """

    kind: Kind
    name: str
    text: str
    share: float = 1.0


def changes(before: Artifact, request: Request) -> list[Change]:
    """Everything that differs; of inputs that have still to be made, nothing."""
    record = before.record
    old, new = record["payload"], request.payload
    return [
        *_config(old, new, request.config),
        *(change for name, given in request.inputs.items() for change in _input(name, before, record, given)),
        *_code(old, new),
        *_libraries(old, new),
    ]


def _config(old: Payload, new: Payload, config: Config) -> Iterator[Change]:
    had = old.get("config", {})
    for name, before, after in _leaves(had, new["config"]):
        if _came_with_the_code(name, had, config):
            yield Change("field", name, f"config.{name} is new, and at its default")
        else:
            yield Change("config", name, f"config.{name} {_short(before)} → {_short(after)}")


def _came_with_the_code(name: str, had: Mapping[str, Any], config: Any) -> bool:
    *sections, leaf = name.split(".")
    for section in sections:
        had, config = had.get(section, {}), getattr(config, section, None)
    if not isinstance(config, Config) or leaf in had:
        return False
    field = type(config).model_fields.get(leaf)
    return field is not None and bool(getattr(config, leaf) == field.get_default(call_default_factory=True))


def _libraries(old: Payload, new: Payload) -> Iterator[Change]:
    for name, before, after in _leaves(old.get("libraries", {}), new["libraries"]):
        yield Change("library", name, f"library {name} {_short(before)} → {_short(after)}")


def _code(old: Payload, new: Payload) -> Iterator[Change]:
    """One change per file, with the functions in it: what the code digest names `tasks.score:score`."""
    by_file: dict[str, dict[str, list[str]]] = {}
    for name, before, after in _leaves(old.get("code", {}), new["code"]):
        module, _, symbol = name.partition(":")
        how = "changed" if before and after else "new" if after else "gone"
        by_file.setdefault(file_of(module), {}).setdefault(how, []).append(_symbol(symbol))
    for file, found in sorted(by_file.items()):
        parts = []
        if changed := found.get("changed"):
            parts.append("changed" + (f" in {few(changed)}" if all(changed) else ""))
        if new_ := found.get("new"):
            parts.append(f"now used: {few(new_)}" if all(new_) else "now used")
        if gone := found.get("gone"):
            parts.append(f"no longer used: {few(gone)}" if all(gone) else "no longer used")
        yield Change("code", file, f"{file} {'; '.join(parts)}")


def _symbol(name: str) -> str:
    return "its top level" if name == ON_IMPORT else name.replace(FIELDS, "'s fields")


def _input(name: str, before: Artifact, record: Mapping[str, Any], given: Input | None) -> Iterator[Change]:
    old = record["payload"].get("inputs", {}).get(name)
    if given and given.digest is None:
        return  # nobody can tell yet
    new = given.digest if given else None
    if old == new:
        return
    if not (old and given):
        yield Change("input", name, f"input {name} {'added' if given else 'removed'}")
        return
    told = record.get("inputs", {}).get(name) or {}
    origin = {**told, "about": record["made_from"].get(name)}
    texts, share = None, 1.0
    if isinstance(given, Artifact):
        earlier = _artifact(before, origin)
        texts, share = _shards(earlier, given) if earlier else (None, 1.0)
    elif isinstance(given, Partly):
        origin["folder"] = str(before.folder)
        texts, share = given.changes(origin), given.share(origin)
    elif isinstance(given, Told):
        texts = given.changes(origin)
    for text in texts or ["changed"]:
        yield Change("input", name, f"input {name}: {text}" if texts else f"input {name} changed", share)


def _artifact(before: Artifact, origin: Mapping[str, Any]) -> Artifact | None:
    """The artifact, or the part of one, that an input was; None if it is gone, or was none."""
    if not origin.get("key"):
        return None
    found = before.store.open(origin["step"], origin["key"])
    try:
        return found[origin["part"]] if found and origin.get("part") else found
    except KeyError:
        return None


def _shards(old: Artifact, new: Artifact) -> tuple[list[str] | None, float]:
    """`3 of 412 shards changed: rows +118 −2`, and that share; None where the files are not shards."""
    before, after = _numbered(old), _numbered(new)
    if not after or not before:
        return None, 1.0
    made, total = (after - before).total(), after.total()
    lost = max(0, (before - after).total() - made)
    texts = [f"{made:,} of {total:,} shards changed"] if made else []
    texts += [f"{lost:,} of {before.total():,} shards gone"] if lost else []
    if not texts:
        return ["shards in another order"], 0.0
    return [*texts[:-1], texts[-1] + _rows(old, new)], made / total


def _rows(old: Artifact, new: Artifact) -> str:
    """`: rows +118 −2`, from the checksums of the shards that differ; empty where an artifact has none."""
    before, after = _checksums(old), _checksums(new)
    if not before or not after:
        return ""
    more, less = _read(new, after - before), _read(old, before - after)
    return f": rows +{(more - less).total():,} −{(less - more).total():,}"


def _checksums(artifact: Artifact) -> set[str]:
    return {name for name in artifact.all_files if name.startswith(f"{CHECKSUMS}/")}


def _read(artifact: Artifact, names: set[str]) -> Counter[bytes]:
    folder = artifact.store.fetch(artifact, names)
    sums = ((folder / name).read_bytes() for name in names)
    return Counter(each[i : i + 4] for each in sums for i in range(0, len(each), 4))


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


def _short(value: Any) -> str:
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
