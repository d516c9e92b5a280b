"""What a gate's decision is about: which adapter was compared, and with which champion, told from the records."""

from typing import NamedTuple

from tasks.engine.errors import UserError
from tasks.engine.storage.artifact import Artifact
from tasks.evaluation.gating.decision import Decision

WEIGHTS = "adapter/adapter_model.safetensors"


class Judged(NamedTuple):
    """Two adapters by the SHA-256 of their weights; `champion` is None if there was none to compare with."""

    adapter: str
    champion: str | None


def weights(adapter: Artifact) -> str:
    """The SHA-256 of an adapter's weights; of `train` and `export` alike. UserError if it has none."""
    if WEIGHTS not in adapter.all_files:
        raise UserError(f"{adapter.about} is no adapter: it has no {WEIGHTS}", "give an artifact of export")
    digest: str = adapter.all_files[WEIGHTS]["sha256"]
    return digest


def decided(gate: Artifact) -> Decision:
    return Decision.read(gate.folder / "gate.json")


def judged(gate: Artifact) -> Judged:
    """Whom the gate compared, told from the records of its scores. UserError if they no longer tell."""
    has_champion = gate.record.inputs.get("champion_scores") is not None
    return Judged(_behind(gate, "tuned_scores"), _behind(gate, "champion_scores") if has_champion else None)


def adapter_of(scores: Artifact) -> tuple[bool, str | None]:
    """Whether the records tell whose scores these are, and the SHA-256 of that adapter's weights: None for the base."""
    answers = scores.input_artifact("answers")
    if not answers:
        return False, None
    adapter = answers.input_artifact("adapter")
    return (True, weights(adapter)) if adapter else (answers.record.inputs.get("adapter") is None, None)


def _behind(gate: Artifact, scored: str) -> str:
    scores = gate.input_artifact(scored)
    known, adapter = adapter_of(scores) if scores else (False, None)
    if not known or adapter is None:
        raise UserError(
            f"the records no longer tell which adapters {gate.about} compared",
            "run `reground retrain`, which compares anew, or promote by hand: `--force --because …`",
        )
    return adapter
