"""Adapters, their scores and the gates that compared them, as the steps publish them, but of a few bytes."""

from collections.abc import Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import orjson

from flows.promotion.candidates import WEIGHTS
from flows.promotion.log import Action, Entry, Log, Version
from tasks.engine.storage.store import Artifact, Store
from tests.tasks.engine.storage.published import publish

VERDICT = {
    "against": "base",
    "metric": "token_f1",
    "label": "Token F1 (answerable)",
    "must": "better",
    "margin": None,
    "outcome": "holds",
    "reason": "token F1 (answerable) rises by .20 [.10, .30]",
    "value": 0.2,
    "low": 0.1,
    "high": 0.3,
    "p": 0.001,
    "detectable": 0.1,
    "rows": 200,
    "documents": 120,
}


def adapter(store: Store, name: str, *, again: int = 0) -> Artifact:
    """An export artifact; two of the same `name` have the same weights."""
    files = {WEIGHTS: f"weights of {name}".encode(), "adapter/README.md": f"card {again}".encode()}
    return publish(store, number(f"export {name} {again}"), files, "export")


def gate(
    store: Store,
    tuned: Artifact,
    champion: Artifact | None = None,
    *,
    decision: str = "promote",
    again: int = 0,
    verdict: dict[str, Any] | None = None,
    asked: str | None = None,
) -> Artifact:
    """What the gate said of `tuned` against `champion`; `verdict` if it was a real one. `asked` names the questions."""
    against = f"{tuned.about} {champion.about if champion else ''} {decision} {again} {asked}"
    verdict = verdict or {
        "decision": decision,
        "why": f"{decision}: token F1 (answerable) +0.20 [+0.10, +0.30]",
        "verdicts": [{**VERDICT, "outcome": {"promote": "holds", "refuse": "fails"}.get(decision, "open")}],
        "comparisons": {},
        "settings": {},
    }
    inputs = {
        "base_scores": origin(_scores(store, None)),
        "tuned_scores": origin(_scores(store, tuned, asked)),
        "champion_scores": origin(_scores(store, champion)) if champion else None,
        "shipped_scores": None,
    }
    files = {"gate.json": orjson.dumps(verdict)}
    return publish(store, number(f"gate {against}"), files, "gate", inputs=inputs, label="gate")


def report(store: Store, gate: Artifact) -> Artifact:
    """The report that shows what the gate decided."""
    files = {"report.json": orjson.dumps({"headline": f"as {gate.about} says"})}
    return publish(store, number(f"report {gate.about}"), files, "report", inputs={"gate": origin(gate)})


def outcome(store: Store, name: str, champion: Artifact | None = None, **how: Any) -> SimpleNamespace:
    """What a retraining that made this adapter leaves."""
    made = adapter(store, name)
    judged = gate(store, made, champion, **how)
    return SimpleNamespace(adapter=made, gate=judged, report=report(store, judged))


def number(name: str) -> int:
    return int(sha256(name.encode()).hexdigest()[:12], 16)


def _scores(store: Store, of: Artifact | None, asked: str | None = None) -> Artifact:
    about = f"{of.about if of else 'base'}{asked or ''}"
    files = {"answers.arrow": about.encode()}
    given = {"adapter": origin(of["adapter"]) if of else None}
    answers = publish(store, number(f"answer {about}"), files, "answer", inputs=given)
    files = {"scores.arrow": about.encode()}
    rows = {"digest": asked, "about": "questions"} if asked else None
    given = {"answers": origin(answers), "rows": rows}
    return publish(store, number(f"score {about}"), files, "score", inputs=given)


def origin(artifact: Artifact) -> dict[str, Any]:
    return {"digest": artifact.digest, "step": artifact.step, "key": artifact.key, "part": artifact.part}


Verdict = tuple[str, str, float]  # against, metric, the least that the change may be


def entry(log: Log, name: str, verdicts: Sequence[Verdict] = (), action: Action = "promote", by_hand=False) -> Entry:
    version = Version(f"export/{name}", f"weights of {name}", log.next_number)
    after = log.after_rollback(version) if action == "rollback" else log.after_promotion(version)
    told = [{"against": against, "metric": metric, "low": low} for against, metric, low in verdicts]
    before = log.entries[-1].digest if log.entries else ""
    return Entry(
        log.next_number,
        action,
        version.adapter,
        version.weights,
        "",
        {},
        "",
        by_hand,
        None,
        told,
        None,
        None,
        after,
        before,
    )


def log_of(*steps) -> Log:
    entries: list[Entry] = []
    for step in steps:
        entries.append(entry(Log(entries), *step))
    return Log(entries)
