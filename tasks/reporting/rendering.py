"""The Jinja templates of this folder: HTML, Markdown and SVG that the project writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.reporting import figures

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "templates"


def templates(folder: str) -> tuple[str, ...]:
    """The files in a folder of templates, as paths from the root: a step that renders them has them as resources."""
    found = sorted(path.relative_to(FOLDER).as_posix() for path in (FOLDER / folder).glob("*.*"))
    if not found:
        raise FileNotFoundError(f"{FOLDER / folder}: no templates")
    return tuple(f"tasks/reporting/templates/{name}" for name in found)


def render(name: str, **context: Any) -> str:
    return environment().get_template(name).render(context)


def environment() -> "Environment":
    """Escapes text in HTML and SVG, not in Markdown; raises an error for names that a template is not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=lambda name: name is None or ".md" not in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= figures.FORMS
    made.filters |= {each.__name__: each for each in (figures.arrow, figures.change, figures.estimate, figures.system)}
    made.filters |= {each.__name__: each for each in (figures.inline, figures.percent, figures.the_system, cell)}
    made.filters["points"] = lambda points: " ".join(f"{x},{y}" for x, y in points)
    return made


def cell(text: str) -> str:
    """A text within a row of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
