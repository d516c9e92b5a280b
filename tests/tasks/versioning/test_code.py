"""What counts as a step's code, on small projects written for each test."""

from pathlib import Path

import pytest

from tasks.versioning.code import code_of

PROJECT = {
    "tasks/__init__.py": "",
    "tasks/score.py": '''
"""Module docstring."""
import math
from tasks.helpers import near
from tasks import far_away
from tasks.versioning import Config, step

LIMIT = 3


class ScoreConfig(Config):
    """Docstring."""

    threshold: float = 0.5  # values are in the key by themselves


@step(libraries=("numpy",))
def score(config, rows):
    """Docstring."""
    return [near(row) for row in rows if row < LIMIT]


def unreached():
    return far_away.other()
''',
    "tasks/helpers.py": """
def near(row: int) -> int:
    from tasks.far_away import deep
    return deep(row)


def unused():
    return 1
""",
    "tasks/far_away.py": """
def deep(row):
    return row + 1


def other():
    return 2
""",
    "tasks/versioning/__init__.py": "def step(**_): ...\nclass Config: ...\n",
}


@pytest.fixture
def project(tmp_path):
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r} to edit"
    path.write_text(text.replace(old, new))


def test_it_reaches_helpers_through_imports_at_any_depth(project):
    reached = code_of("tasks.score", "score", root=project)
    assert {"tasks.score:score", "tasks.score:LIMIT", "tasks.helpers:near", "tasks.far_away:deep"} == set(reached)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/score.py", "row < LIMIT", "row <= LIMIT"),
        ("tasks/score.py", "LIMIT = 3", "LIMIT = 4"),
        ("tasks/helpers.py", "return deep(row)", "return deep(row) * 2"),
        ("tasks/far_away.py", "row + 1", "row + 2"),
    ],
)
def test_a_change_of_meaning_changes_it(project, name, old, new):
    before = code_of("tasks.score", "score", root=project)
    edit(project, name, old, new)
    assert code_of("tasks.score", "score", root=project) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/score.py", "LIMIT = 3", "LIMIT = 3  # a comment"),
        ("tasks/score.py", '"""Docstring."""\n    return', '"""Another."""\n    return'),
        ("tasks/score.py", "for row in rows if row < LIMIT", "for row in rows\n            if row < LIMIT"),
        ("tasks/score.py", "threshold: float = 0.5", "threshold: float = 0.6"),
        ("tasks/score.py", "far_away.other()", "far_away.other() + 1"),
        ("tasks/score.py", '("numpy",)', '("numpy", "scipy")'),
        ("tasks/helpers.py", "row: int", "row: float"),
        ("tasks/helpers.py", "return 1", "return 2"),
        ("tasks/far_away.py", "return 2", "return 3"),
    ],
)
def test_what_cannot_change_the_output_does_not_change_it(project, name, old, new):
    before = code_of("tasks.score", "score", root=project)
    edit(project, name, old, new)
    assert code_of("tasks.score", "score", root=project) == before


def test_a_module_level_effect_counts_once_the_module_is_reached(project):
    edit(project, "tasks/far_away.py", "def other", "print('loaded')\n\n\ndef other")
    assert "tasks.far_away:<module>" in code_of("tasks.score", "score", root=project)


def test_a_whole_module_in_use_counts_whole(project):
    edit(project, "tasks/score.py", "near(row) for", "far_away.deep(row) for")
    assert {"tasks.far_away:deep", "tasks.far_away:other"} <= set(code_of("tasks.score", "score", root=project))
