"""Numbers as people read them. What was not measured is a dash."""

from collections.abc import Callable


def share(value: float | None) -> str:
    """0.83."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def signed(value: float | None) -> str:
    """+0.12, −0.05; 0.00 without a sign."""
    text = "–" if value is None else f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def interval(low: float, high: float) -> str:
    return f"[{signed(low)}, {signed(high)}]"


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


FORMS: dict[str, Callable[[float | None], str]] = {
    "share": share,
    "signed": signed,
    "count": count,
    "short": short,
    "loss": loss,
}
