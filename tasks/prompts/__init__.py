"""Prompts: one template file per model family, and one way to render and tokenise it, from training to serving."""

from pathlib import Path

from tasks.errors import UserError
from tasks.prompts.prompt import REFUSAL, Prompt
from tasks.prompts.tokens import Tokens

__all__ = ["REFUSAL", "Prompt", "Tokens", "find_template"]

TEMPLATES = Path(__file__).parent / "templates"


def find_template(name: str) -> Path:
    """The file of a template that comes with Reground (``inst``, ``mistral``, ``qwen``, …), or of one's own by path."""
    if name.endswith(".jinja"):
        path = Path(name)
        known = f"there is no file {path}"
    else:
        path = TEMPLATES / f"{name}.jinja"
        known = f"no template is called {name!r}"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
        raise UserError(known, f"set prompt.template to one of {names}, or to the path of a .jinja file of your own")
    return path
