"""Why an artifact was made: what had changed, and what changed that in turn, back to an edit of somebody's."""

from dataclasses import dataclass, field
from typing import Any

from tasks.engine.storage.artifact import SHORT, Artifact


@dataclass(frozen=True)
class Cause:
    """An artifact and the reasons for it; `inputs` are those that were among the reasons, with their own."""

    artifact: str  # train/3f2a9c01b7e4d582
    label: str
    made_at: str
    made_by: str
    seconds: float
    why: list[str]
    before: str | None = None  # the artifact that it followed
    adopted: dict[str, str] | None = None
    inputs: dict[str, "Cause"] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "inputs": {name: each.plain() for name, each in self.inputs.items()}}


def why(artifact: Artifact) -> Cause:
    """Read it from the records. An input whose artifact is gone from the store ends the story there."""
    record = artifact.record
    inputs: dict[str, Cause] = {}
    for name, origin in record.get("inputs", {}).items():
        changed = any(reason.startswith((f"input {name} ", f"input {name}:")) for reason in record["why"])
        found = artifact.store.open(origin["step"], origin["key"]) if changed and origin and origin["key"] else None
        if found and found.has_record:
            inputs[name] = why(found)
    before = record.get("before")
    return Cause(
        f"{artifact.step}/{artifact.key[:SHORT]}",
        record["label"],
        record["made_at"],
        record["made_by"]["user"],
        record["measured"]["seconds"],
        record["why"],
        f"{artifact.step}/{before[:SHORT]}" if before else None,
        record.get("adopted"),
        inputs,
    )
