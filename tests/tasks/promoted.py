"""A promotion log as a store has it: promoted, refused, promoted, taken back, waiting, promoted."""

from dataclasses import asdict

from flows.promotion.log import Entry, Log, Version

GATES = {1: 0.30, 2: -0.10, 3: 0.45, 4: 0.52}  # token F1 less the base's, by adapter
ACTIONS = (("promote", 1), ("refuse", 2), ("promote", 3), ("rollback", 3), ("challenge", 4), ("promote", 4))


def log():
    """The entries, oldest first, as dicts."""
    entries = []
    for action, which in ACTIONS:
        adapter = Version(f"export/{which * 7919:064x}", f"{which:064x}", len(entries) + 1)
        before = Log(entries)
        after = {
            "promote": before.after_promotion,
            "refuse": before.after_refusal,
            "rollback": before.after_rollback,
            "challenge": before.after_challenge,
        }[action]
        judged = action != "rollback"
        entries.append(
            Entry(
                number=len(entries) + 1,
                action=action,
                adapter=adapter.adapter,
                weights=adapter.weights,
                at=f"2026-11-{10 + len(entries)}T15:02:11+00:00",
                by={"user": "anna", "host": "trainer-3", "pid": 7, "flow_run": None},
                why="It was slow in service." if action == "rollback" else f"Token F1 {GATES[which]:+.2f} on the base.",
                by_hand=not judged,
                decision=("refuse" if action == "refuse" else "promote") if judged else None,
                verdicts=[verdict("token_f1", "Token F1", GATES[which])] * 2
                + [verdict("hallucination", "Hallucination rate", -GATES[which] / 2)]
                + [verdict("abstention_f1", "Abstention F1", None)]
                if judged
                else [],
                gate=f"gate/{which * 104729:064x}" if judged else None,
                report=f"report/{which * 1299709:064x}" if judged else None,
                state=after(adapter),
                before=entries[-1].digest if entries else "",
            )
        )
    return [asdict(entry) | {"comparisons": compared(entry), "changed": ["train.lora.r: 8 → 16"]} for entry in entries]


def compared(entry):
    """What the entry's gate measured, as far as the history reads it."""
    value = round(0.4 + entry.number / 20, 2)
    tuned = {"value": value, "low": value - 0.05, "high": value + 0.06}
    figures = {"token_f1": "Token F1", "abstention_f1": "Abstention F1"}
    return [{"name": name, "label": label, "rows": 9, "tuned": tuned} for name, label in figures.items() if entry.gate]


def verdict(metric, label, value):
    ends = {"value": value, "low": value and value - 0.05, "high": value and value + 0.06}
    return {
        "against": "base",
        "metric": metric,
        "label": label,
        "must": "better",
        "margin": None,
        "outcome": "holds",
        "reason": f"{label} moved.",
        **ends,
    }


LOG = log()
