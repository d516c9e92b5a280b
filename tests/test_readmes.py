"""The READMEs say what is: the commands are those of `--help`, the files and make targets that they name exist."""

import re
from pathlib import Path

import pytest

from tests.commands import commands

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", *ROOT.glob("*/README.md")]
LINK = re.compile(r"\]\(([^)#:]+)\)")
MAKE = re.compile(r"(?:^|`)make ([a-z][a-z-]*)", re.MULTILINE)


def test_the_commands_of_flows_are_those_of_help():
    text = (ROOT / "flows/README.md").read_text(encoding="utf-8")
    assert text.endswith(commands())


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_make_targets_of_a_readme_exist(readme):
    text, _, _ = readme.read_text(encoding="utf-8").partition("## Commands")  # what follows is of `--help`
    assert [link for link in LINK.findall(text) if not (readme.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(MAKE.findall(text)) - targets == set()


def test_the_first_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
