"""Facts of the engine as text, for the terminal, logs, run names and Prefect's pages. Nothing reads it back."""

from collections import Counter
from pathlib import PurePosixPath
from typing import NamedTuple

from flows.config import Retrain
from tasks.engine.lineage import Lineage
from tasks.engine.plan import Planned, Planner
from tasks.engine.record import Adoption, Change, Reason
from tasks.evaluation.gating.power import Power
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.statistics import MIN_CLUSTERS, POWER

MOST_IN_NAME = 3  # changes in a run's name
LONGEST_IN_NAME = 40  # characters of one


def few(names: tuple[str, ...], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def reasons(why: Reason | None, about: str = "its artifact") -> list[str]:
    """Why a step runs, a line each; `about` names the artifact of its key."""
    if why is None:
        return []
    return [*besides_changes(why, about), *map(change, why.changes)] or ["no earlier artifact"]


def besides_changes(why: Reason, about: str = "its artifact") -> list[str]:
    lines = [f"needs {', '.join(why.needs)}"] if why.needs else []
    if why.state == "corrupt":
        lines.append(f"{about}: {why.problem}")
    elif why.state == "deleted":
        lines.append(f"{about} was deleted")
    return [*lines, *([why.note] if why.note else [])]


def planned(step: Planned) -> list[str]:
    about = "its artifact" if step.status == "waits" else f"{step.request.step.name}/{step.request.key[:16]}"
    return reasons(step.why, about)


def in_short(lines: list[str], most: int = 4, separator: str = "; ") -> str:
    """`a; b; … and 3 more`."""
    return separator.join(lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more"])


def change(change: Change) -> str:
    """`config.lora.r 8 → 16`, `tasks/score.py changed in score`, `input rows: 1 of 20 shards changed, rows +1 −1`."""
    name = change.name
    match change.kind:
        case "config":
            return f"config.{name} {_value(change.before)} → {_value(change.after)}"
        case "setting_added":
            return f"config.{name} is a new setting, at its default"
        case "library":
            return f"library {name} {_value(change.before)} → {_value(change.after)}"
        case "moved":
            return f"{name} was {change.before}, with the same code"
        case "code":
            parts = [f"changed in {few(change.changed)}"] if change.changed else []
            parts += [f"now used: {few(change.added)}"] if change.added else []
            parts += [f"no longer used: {few(change.removed)}"] if change.removed else []
            return f"{name} {'; '.join(parts) or 'changed'}"
        case "input":
            return f"input {name}{_input(change)}"


def _input(change: Change) -> str:
    if change.shards:
        shards = change.shards
        parts = [f"{shards.changed:,} of {shards.total:,} shards changed"] if shards.changed else []
        parts += [f"{shards.removed:,} shards removed"] if shards.removed else []
        if change.rows_added is not None:
            parts.append(f"rows +{change.rows_added:,} −{change.rows_removed:,}")
        return f": {', '.join(parts)}"
    if change.reordered:
        return ": the same in another order"
    lists = (("changed", change.changed), ("added", change.added), ("removed", change.removed))
    if files := [f"{few(names)} {how}" for how, names in lists if names]:
        return f": {'; '.join(files)}"
    match change.before, change.after:
        case None, None:
            return " changed"
        case None, _:
            return " added"
        case _, None:
            return " removed"
        case before, after if before != after:
            return f": {before} → {after}"
        case _, after:
            return f": {after} changed"


def adopted(adoption: Adoption) -> str:
    return f"adopted from {adoption.source} by {adoption.by} on {moment(adoption.at)}: {adoption.because}"


def power(found: Power, against: str) -> tuple[str, str]:
    """How often the gate would promote a true gain on the evaluation set that there is; and what to change, or ""."""
    what = f"what is as good as the {against}"
    if found.metric:
        what = f"a true gain of {found.gain:.2f} in {_metric(found.metric)} over the {against}"
    wanted = f"about {found.needed:,} documents ({found.needed_rows:,} questions)" if found.needed else "no number"
    enough = f"four times in five from {wanted}" + (", as is usual before there are scores" if found.assumed else "")
    if found.chance is None:
        return f"{what} is promoted {enough}", "the first run counts what there is"
    often = f"{round(100 * found.chance)} times in 100" if found.chance else "never"
    value = f"{found.documents:,} documents, {found.rows:,} questions: {what} is promoted {often}"
    if found.chance >= POWER:
        return value, ""
    worst = found.limits[0]
    held = _metric(worst.rule.metric) + (f" within {worst.rule.margin:.2f}" if worst.rule.must == "not_worse" else "")
    shown = (
        f"{round(100 * worst.chance)} times in 100" if worst.chance else f"counted in under {MIN_CLUSTERS} documents"
    )
    margins = [
        f"{each.rule.metric} {each.rule.margin:.2f} → {each.margin:.2f}"
        for each in found.limits
        if each.margin and each.margin > (each.rule.margin or 0)
    ]
    remedy = "more evaluation documents" + (f", or in gate.rules the margins {', '.join(margins)}" if margins else "")
    return f"{value}; {enough}. Least is shown: {held}, {shown}", remedy


def _metric(name: str) -> str:
    from tasks.reporting.figures import inline

    return inline(METRICS[name].label)


def mermaid(lineage: Lineage) -> str:
    """A flow chart, sources on the left; for Prefect's pages, GitHub and other Markdown."""
    numbers = {node.name: f"n{number}" for number, node in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    for node in lineage.nodes:
        step, _, key = node.name.partition("/")
        is_artifact = node.label or not node.in_store
        shape = f'["{node.label or step}<br/>{key}"]' if is_artifact else f'[("{node.name}")]'
        lines.append(f"  {numbers[node.name]}{shape}")
    for edge in lineage.edges:
        lines.append(f"  {numbers[edge.source]} -->|{', '.join(edge.inputs)}| {numbers[edge.target]}")
    return "\n".join(lines)


class RunName(NamedTuple):
    name: str
    tags: list[str]  # to filter runs by


def run_name(config: Retrain, planner: Planner) -> RunName:
    """`retrain tiny · 3 shards changed · r=16`."""
    tags, changes = _changes(config, planner)
    shown = [_cut(each) for each in changes[:MOST_IN_NAME]]
    shown += [f"{len(changes) - MOST_IN_NAME} more"] if len(changes) > MOST_IN_NAME else []
    rank = f"r={config.train.lora.r}"
    if not any(each.kind == "config" and each.name == "lora.r" for step in planner.steps for each in step.changes):
        shown.append(rank)
    tags = [config.name, PurePosixPath(config.base.model).name, rank, *tags]
    return RunName(" · ".join([f"retrain {config.name}", *shown]), list(dict.fromkeys(tags)))


def _is_setting(config: Retrain, step: str, change: Change) -> bool:
    section = {field.alias or name: name for name, field in Retrain.model_fields.items()}.get(step, "")
    return change.kind == "config" and hasattr(getattr(config, section, None), change.name.partition(".")[0])


def _changes(config: Retrain, planner: Planner) -> tuple[list[str], list[str]]:
    """Tags, and what changed in a few words each: the user's data first, then settings, code, and what is missing.

    For steps that wait, only settings and code of their own count: their inputs follow from the steps before them.
    """
    if planner.fresh:
        return ["nothing-changed"], ["nothing changed"]
    if not any(step.before or step.artifact for step in planner.steps):
        return ["first-run"], ["first run"]
    data, others, settings, libraries, code = Counter[str](), [], [], [], []
    changed = [(step.request.step.name, each) for step in planner.steps for each in step.changes]
    own = [each for name, each in changed if _is_setting(config, name, each)]
    for step in planner.steps:
        name = step.request.step.name
        for each in step.changes:
            match each.kind:
                case "input" if step.status == "stale" and each.shards and each.name == "rows":
                    data[name] += each.shards.changed or each.shards.removed
                case "input" if step.status == "stale":
                    others.append(f"{each.name} changed")
                case "config" if each in own and not _is_setting(config, name, each):
                    pass  # the flow handed it on to this step, too
                case "config":
                    settings.append(f"{name}.{each.name} {_value(each.before)} → {_value(each.after)}")
                case "library":
                    libraries.append(f"{each.name} {_value(each.before)} → {_value(each.after)}")
                case "code" | "moved" | "setting_added":
                    code.append(name)
    shards = data["validate"] or data.total()
    groups = {
        "data": [f"{shards:,} shard{'s' * (shards != 1)} changed"] if shards else [],
        "inputs": list(dict.fromkeys(others)),
        "settings": list(dict.fromkeys(settings)),
        "libraries": list(dict.fromkeys(libraries)),
        "code": [f"code of {', '.join(dict.fromkeys(code))}"] if code else [],
    }
    found = [each for group in groups.values() for each in group]
    if found:
        return [name for name, group in groups.items() if group], found
    # An artifact was deleted or is corrupt, or a step never ran.
    stale = [step.label for step in planner.steps if step.status == "stale"]
    return ["missing"], [f"{stale[0]} missing" if len(stale) == 1 else f"{len(stale)} steps missing"]


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def cost(seconds: float | None, gpu_seconds: float | None) -> str:
    """`3.4 min (GPU 2.9 min)`."""
    return duration(seconds or None) + (f" (GPU {duration(gpu_seconds)})" if gpu_seconds else "")


def size(count: float) -> str:
    """Bytes: `3.2 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def moment(at: str) -> str:
    """`2026-11-24 15:00:00`, from ISO 8601 in UTC."""
    return at.replace("T", " ").removesuffix("+00:00")


def _value(value: object) -> str:
    text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else "none" if value is None else str(value)
    return _cut(text or "empty")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_IN_NAME else text[: LONGEST_IN_NAME - 1] + "…"


# What a base's chat template cannot do, and what is done instead: see `Prompt.notes`
PROMPTS = {
    "folds_system": "its chat template has no system turn, so what the system says begins the first user turn",
    "closes_thought": "its chat template begins a thought, which is closed at once: prompt.thinking is off",
    "adds_end": "its chat template ends no answer, so a token that does is put behind it",
}
