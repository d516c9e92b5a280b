"""The champions over time: what each promoted adapter gained on the base, and every entry of the log.

An entry is a mapping, as in a store's promotion log: number, action, adapter, at, by, why, gate, the gate's verdicts,
and the state after the entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.reporting.plots import history as places
from tasks.reporting.rendering import render

SHORT = 16  # characters of a key
LINES = (("correct", "contains_value", "token_f1"), ("abstention_f1",))  # of each the first that was compared
ACTIONS = {"challenge": "waits", "promote": "promoted", "refuse": "refused", "rollback": "taken back"}

Entry = Mapping[str, Any]


def html(entries: Sequence[Entry]) -> str:
    """The history as one self-contained page; `entries` oldest first."""
    lines = measured(entries)
    return render(
        "ui/history.html.jinja",
        champion=_champion(entries),
        entries=[described(entry) for entry in entries],
        lines=lines,
        plots=places(lines),
    )


def markdown(entries: Sequence[Entry]) -> str:
    """The log as a table, newest first, and what the champions gained on the base."""
    return render("ui/history.md.jinja", entries=[described(entry) for entry in entries], gains=gained(entries))


def _champion(entries: Sequence[Entry]) -> dict[str, str] | None:
    """The adapter in service and the date of the entry that put it there; empty if `entries` begin after it."""
    champion = entries[-1]["state"]["champion"] if entries else None
    if not champion:
        return None
    since = next((entry["at"][:10] for entry in entries if entry["number"] == champion["since"]), "")
    return {"adapter": _short(champion["adapter"]), "since": since}


def described(entry: Entry) -> dict[str, str]:
    """An entry in words: `export/3f2a…`, `2026-11-24 15:02`, `anna@host`."""
    by = entry["by"]
    return {
        "number": str(entry["number"]),
        "action": ACTIONS[entry["action"]],
        "adapter": _short(entry["adapter"]),
        "at": entry["at"][:16].replace("T", " "),
        "by": by if isinstance(by, str) else f"{by['user']}@{by['host']}",
        "why": entry["why"],
        "changed": "; ".join(entry.get("changed") or ()),
    }


def gained(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """For each metric that the gate compared with the base, the gain of each promoted adapter, in the log's order.

    A point has number, adapter, gate, at (a date), value, low, high, and `taken_back`: whether a later rollback took
    the adapter out of service. An adapter promoted by hand, without a gate, has no point.
    """
    rollbacks = [(entry["adapter"], entry["number"]) for entry in entries if entry["action"] == "rollback"]
    metrics: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["action"] != "promote":
            continue
        for verdict in {v["metric"]: v for v in entry["verdicts"] or () if _measured(v)}.values():
            metric = metrics.setdefault(
                verdict["metric"], {"name": verdict["metric"], "label": verdict["label"], "points": []}
            )
            metric["points"].append(
                {
                    **{end: verdict[end] for end in ("value", "low", "high")},
                    "number": entry["number"],
                    "adapter": _short(entry["adapter"]),
                    "gate": _short(entry["gate"]),
                    "at": entry["at"][:10],
                    "taken_back": any(
                        adapter == entry["adapter"] and number > entry["number"] for adapter, number in rollbacks
                    ),
                }
            )
    return list(metrics.values())


def measured(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """How right and how well refusing each judged adapter was, in the log's order; each as `gained`, with its figure.

    A point is of an adapter that was promoted or refused and whose gate is still in the store; `taken_back` is true of
    a refused one too.
    """
    back = {(entry["adapter"], entry["number"]) for entry in entries if entry["action"] == "rollback"}
    found = []
    for names in LINES:
        points, label = [], ""
        for entry in entries:
            metrics = {each["name"]: each for each in entry.get("comparisons") or ()}
            metric = next((metrics[name] for name in names if name in metrics and metrics[name]["rows"]), None)
            if entry["action"] not in ("promote", "refuse") or not entry["gate"] or not metric:
                continue
            label = metric["label"]
            points.append(
                {
                    **{end: metric["tuned"][end] for end in ("value", "low", "high")},
                    **{"number": entry["number"], "adapter": _short(entry["adapter"]), "at": entry["at"][:10]},
                    **{"gate": _short(entry["gate"]), "action": ACTIONS[entry["action"]]},
                    "taken_back": entry["action"] == "refuse"
                    or any(adapter == entry["adapter"] and number > entry["number"] for adapter, number in back),
                }
            )
        if points:
            found.append({"name": names[0], "label": label, "points": points})
    return found


def _measured(verdict: Mapping[str, Any]) -> bool:
    return verdict["against"] == "base" and verdict["value"] is not None


def _short(artifact: str) -> str:
    step, _, key = artifact.partition("/")
    return f"{step}/{key[:SHORT]}"
