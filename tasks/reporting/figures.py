"""Numbers and comparisons as people read them. What was not measured is a dash."""

from collections.abc import Callable, Mapping
from typing import Any

SYSTEMS = {  # by their names in report.json: at the head of a column, and within a sentence
    "base": ("Base model", "the base model"),
    "base_shots": ("Base with examples", "the base model with solved examples in its prompt"),
    "champion": ("In service", "the adapter in service"),
    "tuned": ("New adapter", "the new adapter"),
    "trained": ("Trained", "what was trained"),
    "shipped": ("Shipped", "what ships"),
}
SUBJECTS = {
    "base": "Against the base",
    "base_shots": "Against the base with solved examples in its prompt",
    "champion": "Against the champion",
    "best": "Against the best so far",
    "trained": "What ships, against what was trained",
}


def share(value: float | None) -> str:
    """0.83."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def signed(value: float | None) -> str:
    """+0.12, −0.05; 0.00 without a sign."""
    text = "–" if value is None else f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def interval(low: float, high: float) -> str:
    return f"[{signed(low)}, {signed(high)}]"


def change(difference: Mapping[str, Any] | None) -> str:
    """`+0.63 [+0.58, +0.67]`."""
    if not difference or difference["low"] is None:
        return signed(difference["value"]) if difference else "–"
    return f"{signed(difference['value'])} {interval(difference['low'], difference['high'])}"


def estimate(figure: Mapping[str, Any]) -> str:
    """`0.78 [0.71, 0.83]`."""
    if figure["value"] is None:
        return "–"
    return f"{share(figure['value'])} [{share(figure['low'])}, {share(figure['high'])}]"


def percent(rate: float | None) -> str:
    """`7 %`; `< 1 %` if it is less but not zero."""
    if rate is None:
        return "–"
    return "< 1 %" if 0 < rate < 0.01 else f"{rate:.0%}".replace("%", " %")


def count(value: float | None) -> str:
    """12,345."""
    return "–" if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """12.5, or 12 without a fraction."""
    return "–" if value is None else f"{value:,g}"


def loss(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def inline(label: str) -> str:
    """A metric's label within a sentence: `token F1 (answerable)`, `ROUGE-L to the reference`."""
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def arrow(direction: str) -> str:
    """Which direction is better, as a suffix of a label."""
    return {"higher": " ↑", "lower": " ↓"}.get(direction, "")


def system(name: str) -> str:
    return SYSTEMS[name][0]


def the_system(name: str) -> str:
    return SYSTEMS[name][1]


FORMS: dict[str, Callable[[float | None], str]] = {
    "share": share,
    "signed": signed,
    "count": count,
    "short": short,
    "loss": loss,
}
