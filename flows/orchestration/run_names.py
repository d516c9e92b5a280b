"""What a retraining is called, from its plan: `retrain tiny · 3 shards changed · r=16`, and tags to filter runs by."""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import NamedTuple

from flows.config import Retrain
from tasks.engine.plan import Planned, Planner

SHARDS = re.compile(r"([\d,]+) of [\d,]+ shards (?:changed|gone)")
MOST = 3  # changes that the name tells
LONGEST = 40  # characters of one


class Naming(NamedTuple):
    name: str
    tags: list[str]


def naming(config: Retrain, planner: Planner) -> Naming:
    """The name and the tags of the run that the planner has planned."""
    tags, changes = _changes(planner)
    told = [_short(each) for each in changes[:MOST]]
    told += [f"{len(changes) - MOST} more"] if len(changes) > MOST else []
    rank = f"r={config.train.lora.r}"
    name = " · ".join([f"retrain {config.name}", *told, *([] if any("lora.r " in each for each in told) else [rank])])
    return Naming(name, list(dict.fromkeys([config.name, PurePosixPath(config.base.model).name, rank, *tags])))


def _changes(planner: Planner) -> tuple[list[str], list[str]]:
    """Tags, and what changed in a few words each: the user's data first, then settings, code, and what is missing.

    Of steps that wait for another nothing is told but settings and code of their own: their inputs follow from that.
    """
    if planner.fresh:
        return ["nothing-changed"], ["nothing changed"]
    if not any(step.before or step.artifact for step in planner.steps):
        return ["first-run"], ["first run"]
    data, others, settings, libraries, code = Counter[str](), [], [], [], []
    for step in planner.steps:
        for change in step.changes:
            match change.kind:
                case "input" if step.status == "stale":
                    found = SHARDS.search(change.text)
                    if found and change.name == "rows":
                        data[step.request.step.name] += int(found[1].replace(",", ""))
                    else:
                        others.append(f"{change.name} changed")
                case "config":
                    settings.append(f"{step.request.step.name}.{change.text.removeprefix('config.')}")
                case "library":
                    libraries.append(change.text.removeprefix("library "))
                case "code" | "field":
                    code.append(step.request.step.name)
    shards = data["validate"] or sum(data.values())
    groups = {
        "data": [f"{shards:,} shard{'s' * (shards != 1)} changed"] if shards else [],
        "inputs": list(dict.fromkeys(others)),
        "settings": list(dict.fromkeys(settings)),
        "libraries": list(dict.fromkeys(libraries)),
        "code": [f"code of {', '.join(dict.fromkeys(code))}"] if code else [],
    }
    tags = [name for name, found in groups.items() if found]
    told = [each for found in groups.values() for each in found]
    return (tags, told) if told else (["missing"], [_missing(planner.steps)])


def _missing(steps: list[Planned]) -> str:
    """No change, and yet there is no artifact: it was deleted, harmed, or is of a step that never ran."""
    stale = [step.label for step in steps if step.status == "stale"]
    return f"{stale[0]} missing" if len(stale) == 1 else f"{len(stale)} steps missing"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
