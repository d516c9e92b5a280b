"""Adapters that could be served: found by name, told apart by their weights, with the gate that compared them."""

from dataclasses import dataclass

from flows.promotion import log
from tasks.engine.errors import UserError
from tasks.engine.record import Origin
from tasks.engine.storage.artifact import Artifact
from tasks.engine.storage.references import Alias
from tasks.engine.storage.store import SHORT, Store
from tasks.evaluation.gating.decision import Decision

ADAPTERS = "export"  # the step whose artifacts are served
WEIGHTS = "adapter/adapter_model.safetensors"
ROLES = ("champion", "previous", "challenger")


def roles(store: Store) -> dict[str, Alias]:
    """What champion, previous and challenger mean, by the newest entry of the promotion log."""
    found = {}
    for name, version in log.read_state(store).roles().items():
        entry = log.read_entry(store, version.since)
        found[name] = Alias(name, version.step, version.key, entry.at, entry.who)
    return found


def find(store: Store, name: str) -> Artifact:
    """The artifact that a person means: champion, previous, challenger, or what `Store.match` takes."""
    if name not in ROLES:
        return store.match(name)
    role = roles(store).get(name)
    if role is None:
        of = f" of the project {store.project!r}" if store.project else ""
        raise UserError(f"there is no {name}{of} in {store.url}", "see `reground versions`, or name an adapter by key")
    if (artifact := store.open(role.step, role.key)) is None:
        about = f"{role.step}/{role.key[:SHORT]}"
        raise UserError(f"{name}: {about} is missing from {store.url}, or damaged", "see `reground fsck`")
    return artifact


def require_no_role(name: str, adapter: Artifact) -> None:
    """UserError for the names that only the promotion log gives."""
    if name in ROLES:
        raise UserError(
            f"{name!r} is given by the promotion log alone",
            f"`reground promote {adapter.step}/{adapter.key[:SHORT]} --force --because …` makes it the champion",
        )


def weights(adapter: Artifact) -> str:
    """The SHA-256 of an adapter's weights, the same for `train` and `export`. UserError if it has none."""
    if WEIGHTS not in adapter.all_files:
        raise UserError(f"{adapter.about} is not an adapter: it has no {WEIGHTS}", "give an artifact of export")
    digest: str = adapter.all_files[WEIGHTS]["sha256"]
    return digest


def version(adapter: Artifact) -> log.Version:
    return log.Version(f"{adapter.step}/{adapter.key}", weights(adapter), since=0)


def gate_decision(gate: Artifact) -> Decision:
    return Decision.read(gate.folder / "gate.json")


@dataclass(frozen=True)
class Subject:
    """The two adapters that a gate compared, by the SHA-256 of their weights; no `champion` if there was none."""

    adapter: str
    champion: str | None

    @classmethod
    def of(cls, gate: Artifact) -> "Subject":
        """From the records of the gate's scores. UserError if those are no longer there."""
        has_champion = gate.record.inputs.get("champion_scores") is not None
        champion = _adapter_behind(gate, "champion_scores") if has_champion else None
        return cls(_adapter_behind(gate, "tuned_scores"), champion)


def scored_weights(scores: Artifact) -> tuple[bool, str | None]:
    """Whether the records still show whose scores these are, and the weights' SHA-256: None for the base model, with
    examples in its prompt or without."""
    answers = scores.input_artifact("answers")
    if not answers:
        return False, None
    adapter = answers.input_artifact("adapter")
    return (True, weights(adapter)) if adapter else (answers.record.inputs.get("adapter") is None, None)


def asked(scores: Artifact) -> Origin:
    """The questions that the scores are about: a part of `build`, say, of which `about` is the name."""
    origin = scores.record.inputs.get("rows") or Origin()
    known = f"{origin.step}/{origin.key[:SHORT]}" if origin.step and origin.key else (origin.digest or "")[:SHORT]
    return origin if origin.about else origin.model_copy(update={"about": known})


def gate_of(store: Store, adapter: Artifact) -> Artifact | None:
    """The newest gate that compared this adapter with today's champion, else its newest gate; None if it has none.

    After a rollback an older gate may be the one that counts: a run that finds it fresh makes no newer one.
    """
    champion = log.read_state(store).champion
    wanted = Subject(weights(adapter), champion.weights if champion else None)
    newest = None
    for gate in store.recent("gate", most=50):
        try:
            subject = Subject.of(gate)
        except UserError:
            continue
        if subject == wanted:
            return gate
        if subject.adapter == wanted.adapter:
            newest = newest or gate
    return newest


def report_of(store: Store, gate: Artifact | None) -> Artifact | None:
    """The newest report that shows what this gate decided."""
    if not gate:
        return None
    reports = ((report, report.record.inputs.get("gate")) for report in reversed(store.all("report")))
    return next((report for report, origin in reports if origin and origin.key == gate.key), None)


def _adapter_behind(gate: Artifact, scored: str) -> str:
    scores = gate.input_artifact(scored)
    known, adapter = scored_weights(scores) if scores else (False, None)
    if not known or adapter is None:
        raise UserError(
            f"the store no longer has the records that show which adapters {gate.about} compared",
            "run `reground retrain`, which compares again, or promote it by hand: `--force --because …`",
        )
    return adapter
