"""The report in the terminal, from report.json: the comparison with the base, and what the gate asked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.reporting.figures import arrow, change, count, estimate, percent, share
from tasks.reporting.outcomes import OUTCOMES

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FIRST = ("Correctness", "Abstention")  # groups of metrics
COLUMNS = {"champion": "in service", "base_shots": "with examples"}
STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "no significant difference": "default",
    "inconclusive": "yellow",
    "not scored": "dim",
    "diagnostic": "dim",
}
RULES = {  # in a title, and as a style
    "holds": ("passed", "green"),
    "fails": ("failed", "bold red"),
    "open": ("open", "yellow"),
    "idle": ("not needed", "dim"),
}


def table(report: dict[str, Any]) -> "RenderableType":
    """Outcomes, comparison and verdicts in at most 100 columns, without the decision."""
    from rich.console import Group

    title = f"Base against tuned: {count(report['rows'])} questions, {count(report['documents'])} documents"
    compared = comparison(sorted(report["comparisons"]["base"], key=_rank), ("base", "tuned"), title)
    return Group(outcomes(report), compared, verdicts(report))


def outcomes(report: dict[str, Any]) -> "Table":
    """How many of all questions each system answered rightly and wrongly, and refused rightly and wrongly."""
    lines = _table(f"What became of all {count(report['rows'])} questions", "")
    lines.add_column("", no_wrap=True)
    for system in report["outcomes"]:
        lines.add_column(COLUMNS.get(system["name"], system["name"]), justify="right", no_wrap=True)
    for name in OUTCOMES:
        numbers = [system[name.replace(" ", "_")] for system in report["outcomes"]]
        lines.add_row(name, *(f"{count(each)} {percent(each / report['rows']):>7}" for each in numbers))
    return lines


def comparison(
    metrics: Sequence[Mapping[str, Any]], names: tuple[str, str], title: str, heads: tuple[str, str] | None = None
) -> "Table":
    """The first system against the second, a line per metric, grouped, coloured by verdict; `heads` name them."""
    from rich.text import Text

    heads = heads or names
    less = f"{heads[1]} less {heads[0]}"
    lines = _table(title, f"Difference: {less}, 95 % interval. ↑ higher is better, ↓ lower. • primary metric.")
    lines.add_column("metric", no_wrap=True)
    for name in heads:  # a key is folded, a figure never
        lines.add_column(Text(name), justify="right", min_width=5, max_width=10, overflow="fold")
    lines.add_column("difference [95 %]", justify="right", no_wrap=True)
    lines.add_column("verdict", min_width=14)
    lines.add_column("n", justify="right", no_wrap=True)
    group = ""
    for metric in metrics:
        if metric["group"] != group:
            group = metric["group"]
            lines.add_row(Text(group, style="bold"))
        lines.add_row(
            Text(("• " if metric["primary"] else "  ") + metric["label"] + arrow(metric["direction"])),
            *(share(metric[name]["value"]) for name in names),
            Text(change(metric["difference"])),
            Text(metric["verdict"], style=STYLES[metric["verdict"]]),
            count(metric["rows"]),
        )
    return lines


def _rank(metric: Mapping[str, Any]) -> int:
    """Whether it is right and whether it refuses come first; all else stays in its order."""
    return FIRST.index(metric["group"]) if metric["group"] in FIRST else len(FIRST)


def verdicts(report: dict[str, Any]) -> "RenderableType":
    """How many rules of the gate hold, and each that fails or is open; those that fail come first."""
    from rich.text import Text

    counts = Counter(_outcome(verdict) for verdict in report["verdicts"])
    title = "Rules of the gate: " + ", ".join(
        f"{counts[name]} {words}" for name, (words, _) in RULES.items() if counts[name]
    )
    listed = [verdict for name in ("fails", "open") for verdict in report["verdicts"] if _outcome(verdict) == name]
    if not listed:
        return Text(title, style="bold")
    lines = _table(title, "")
    for name in ("rule", "against"):
        lines.add_column(name, no_wrap=True)
    for name in ("change [95 %]", "margin"):
        lines.add_column(name, justify="right", no_wrap=True)
    lines.add_column("outcome", no_wrap=True)
    for verdict in listed:
        lines.add_row(
            Text(f"{verdict['label']} {verdict['must'].replace('_', ' ')}"),
            verdict["against"],
            (estimate if verdict["must"] == "at_least" else change)(verdict) if verdict["value"] is not None else "–",
            {"better": "any", "at_least": share(verdict["level"])}.get(verdict["must"]) or share(verdict["margin"]),
            Text(verdict["outcome"], style=RULES[verdict["outcome"]][1]),
        )
    return lines


def _outcome(verdict: dict[str, Any]) -> str:
    return verdict["outcome"] if verdict["needed"] or verdict["outcome"] == "holds" else "idle"


def _table(title: str, caption: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption or None,
        caption_justify="left",
        caption_style="dim",
    )
