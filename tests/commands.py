"""The commands of flows/README.md, from `reground --help`: `make docs` writes them, test_readmes.py compares."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "## Commands\n\n<!-- `make docs` writes what follows from `reground --help`; a test compares. -->\n\n"


def commands() -> str:
    """The section, as Markdown."""
    words = [sys.executable, "-m", "typer", "flows.cli.app", "utils", "docs", "--name", "reground"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    text = text.replace(f"{ROOT}/", "")  # defaults are paths of this checkout
    return HEAD + re.sub(r"^#", "##", text, flags=re.MULTILINE).strip() + "\n"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(readme.read_text(encoding="utf-8").partition("## Commands")[0] + commands(), encoding="utf-8")
