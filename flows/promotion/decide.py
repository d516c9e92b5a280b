"""What the terminal and the Prefect flows promote and roll back, and what they say of it."""

from flows.promotion.judged import decided
from flows.promotion.promotions import Entry
from flows.promotion.settle import candidate
from flows.promotion.versions import gate_of, report_of
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Artifact, Store


def promote(
    store: Store, adapter: str | None, *, because: str = "", force: bool = False, approver: str | None = None
) -> str:
    """Promote the adapter, or the challenger; returns in a line what is so now.

    Its newest gate is its proof, and without a `because` its reason. One that no gate judged needs `force`.
    """
    found = candidate(store, adapter)
    gate = gate_of(store, found)
    if not gate and not force:
        raise UserError(
            f"{found.about} was judged by no gate",
            "run `reground retrain`, or promote it by hand: `--force --because …`",
        )
    if force and not because.strip():
        raise UserError("--force promotes against the gate, so it needs a reason", "say why: `--because …`")
    before = store.promotions.state.champion
    entry = store.promotions.promote(
        found,
        why=because or (decided(gate).why if gate else ""),
        gate=gate,
        report=report_of(store, gate) if gate else None,
        force=force,
        approver=approver,
    )
    if before and store.promotions.is_same(before, found):
        return f"{found.about} is in service already, since {entry.day}: {entry.why}"
    return f"{entry.about} is promoted{_instead(entry)}: {entry.why}"


def refuse(store: Store, adapter: str, *, because: str, approver: str | None = None) -> str:
    found = candidate(store, adapter)
    gate = gate_of(store, found)
    report = report_of(store, gate) if gate else None
    entry = store.promotions.refuse(found, why=because, gate=gate, report=report, approver=approver)
    return f"{entry.about} is refused by {entry.who}: {entry.why}"


def rollback(store: Store, adapter: str | None = None, *, because: str) -> str:
    """Take the champion, or the adapter, out of service; returns in a line what is so now."""
    entry = store.promotions.rollback(why=because, adapter=store.match(adapter) if adapter else None)
    champion = store.promotions.state.champion
    return f"{entry.about} is rolled back; {champion.about if champion else 'no adapter'} is in service: {entry.why}"


def _instead(entry: Entry) -> str:
    return f" in place of {entry.state.previous.about}" if entry.state.previous else ""


def described(store: Store, adapter: Artifact) -> str:
    """Markdown for whoever is asked: what would be promoted, in place of what, and what the gate found."""
    gate, champion = gate_of(store, adapter), store.promotions.state.champion
    told = decided(gate) if gate else None
    lines = [f"Promote **{adapter.about}**{f' in place of **{champion.about}**' if champion else ''}?", ""]
    lines += [f"The gate says {told.decision}: {told.why}", ""] if told else ["No gate judged it.", ""]
    lines += [f"- {each.label} against {each.against}: {each.reason}" for each in (told.verdicts if told else [])]
    return "\n".join(lines)
