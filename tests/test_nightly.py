"""tests/README.md lists every file that has tests for nightly runs alone."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_readme_lists_the_files_with_nightly_tests():
    section = (TESTS / "README.md").read_text().partition("## What only nightly runs\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", section, flags=re.MULTILINE))
    files = {str(path.relative_to(TESTS)): path.read_text() for path in TESTS.rglob("*.py")}
    marked = {name for name, text in files.items() if "pytest.mark." + "nightly" in text}
    assert marked | {"faults/test_kills.py"} == listed
