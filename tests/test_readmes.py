"""The READMEs say what is: the commands are those of `--help`, the files and make targets that they name exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", *ROOT.glob("*/README.md")]
LINK = re.compile(r"\]\(([^)#:]+)\)")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")


def test_the_commands_of_flows_are_those_of_help():
    """`make docs` writes them."""
    words = [sys.executable, "-m", "typer", "flows.cli.app", "utils", "docs", "--name", "reground"]
    help_text = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    _, _, commands = (ROOT / "flows/README.md").read_text(encoding="utf-8").partition("## Commands\n\n")
    _, _, written = commands.partition("\n\n")  # behind the line that says how it is made
    assert written.strip() == re.sub(r"^#", "##", help_text, flags=re.MULTILINE).strip()


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_make_targets_of_a_readme_exist(readme):
    text = readme.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (readme.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(MAKE.findall(text)) - targets - {"one", "sure", "files", "it"} == set()


def test_the_first_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
