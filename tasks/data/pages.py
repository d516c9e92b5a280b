"""The pages of Markdown that validate and build write beside their reports, from templates."""

from pathlib import Path
from typing import Any

VALIDATION = "validation.md.jinja"
BUILD = "build.md.jinja"
FOLDER = "tasks/data/templates"  # a step that renders a template names it as a resource: f"{FOLDER}/{BUILD}"


def render(template: str, report: dict[str, Any], **filters: Any) -> str:
    """A report, as its JSON has it, as a page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"n": "{:,}".format, "percent": "{:.1%}".format, "code": _code} | filters
    return environment.get_template(template).render(report)


def _code(text: object) -> str:
    """Text of a row, quoted so that Markdown leaves it alone."""
    flat = " ".join(str(text).split())
    flat = flat if len(flat) <= 120 else flat[:119] + "…"
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"
