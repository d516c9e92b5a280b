"""The champions over time: what each adapter that was promoted gained on the base, and every entry of the log.

Entries are plain, as the promotion log of a store has them: of each its number, action, adapter, at, by, why, the gate
and its verdicts, and the state that it left.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.reporting.figures import interval, signed
from tasks.reporting.markdown import cell, table
from tasks.reporting.plots import history as places

PARTS = ("tasks/reporting/history.html.jinja",)  # and of `tasks.reporting.page`, style and macros
SHORT = 16  # characters of a key

Entry = Mapping[str, Any]


def html(entries: Sequence[Entry]) -> str:
    """The history as one self-contained page; `entries` oldest first."""
    from tasks.reporting.page import environment

    page = environment().get_template("history.html.jinja")
    gains = gained(entries)
    return page.render(
        champion=_champion(entries), entries=[shown(entry) for entry in entries], gains=gains, plots=places(gains)
    )


def _champion(entries: Sequence[Entry]) -> dict[str, str] | None:
    """The adapter in service and the date of the entry that put it there; empty if `entries` begin after it."""
    champion = entries[-1]["state"]["champion"] if entries else None
    if not champion:
        return None
    since = next((entry["at"][:10] for entry in entries if entry["number"] == champion["since"]), "")
    return {"adapter": _short(champion["adapter"]), "since": since}


def markdown(entries: Sequence[Entry]) -> str:
    """The log as a table, newest first, and what the champions gained on the base."""
    told = [shown(entry) for entry in reversed(entries)]
    parts = [
        "# Champions",
        table(
            "| # | When | What | Adapter | Why | By |",
            "lllll",
            [
                (str(e["number"]), e["at"], e["action"], f"`{e['adapter']}`", cell(e["why"]), cell(e["by"]))
                for e in told
            ],
        ),
    ]
    gains = gained(entries)
    if gains:
        rows = [
            (
                gain["label"],
                f"`{point['adapter']}`",
                f"{signed(point['value'])} {interval(point['low'], point['high'])}",
            )
            for gain in gains
            for point in gain["points"]
        ]
        parts += [
            "## Gain on the base of each adapter promoted",
            table("| Metric | Adapter | Gain [95 %] |", "lr", rows),
        ]
    return "\n\n".join(parts) + "\n"


def shown(entry: Entry) -> dict[str, str]:
    """An entry in words: `export/3f2a…`, `2026-11-24 15:02`, `anna@host`."""
    by = entry["by"]
    return {
        "number": str(entry["number"]),
        "action": {"challenge": "waits", "promote": "promoted", "refuse": "refused", "rollback": "taken back"}[
            entry["action"]
        ],
        "adapter": _short(entry["adapter"]),
        "at": entry["at"][:16].replace("T", " "),
        "by": by if isinstance(by, str) else f"{by['user']}@{by['host']}",
        "why": entry["why"],
    }


def gained(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Per metric that the gate judged against the base, the change of each adapter that was promoted, in their order.

    A point has number, adapter, gate, at (a date), value, low, high, and whether a rollback has taken the adapter out
    of service since. An adapter promoted without a gate, by a person's word, has no point.
    """
    back = {(entry["adapter"], entry["number"]) for entry in entries if entry["action"] == "rollback"}
    metrics: dict[str, dict[str, Any]] = {}
    for entry in entries:
        judged = {v["metric"]: v for v in entry["verdicts"] or () if v["against"] == "base" and v["value"] is not None}
        for name, verdict in judged.items() if entry["action"] == "promote" else ():
            metric = metrics.setdefault(name, {"name": name, "label": verdict["label"], "points": []})
            metric["points"].append(
                {end: verdict[end] for end in ("value", "low", "high")}
                | {"number": entry["number"], "adapter": _short(entry["adapter"]), "at": entry["at"][:10]}
                | {"gate": _short(entry["gate"])}
                | {"taken_back": any(who == entry["adapter"] and when > entry["number"] for who, when in back)}
            )
    return list(metrics.values())


def _short(adapter: str) -> str:
    step, _, key = adapter.partition("/")
    return f"{step}/{key[:SHORT]}"
