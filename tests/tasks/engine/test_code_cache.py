"""Code digests that are remembered: never longer than the source stays as it is."""

import os
import shutil
import time
from pathlib import Path

import pytest

from tasks.engine.code import reach as code
from tasks.engine.code.cache import code_of
from tasks.engine.code.source import ROOT


@pytest.fixture
def project(tmp_path):
    """A copy of the source, old enough to be remembered."""
    root = tmp_path / "project"
    for part in ("flows", "tasks"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    time.sleep(0.15)
    return root


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def found(monkeypatch):
    """The names that were found by reading source, not remembered."""
    names = []
    find = code.code_of

    def noted(module: str, name: str, *, root: Path) -> dict[str, str]:
        names.append(name)
        return find(module, name, root=root)

    monkeypatch.setattr(code, "code_of", noted)
    return names


def words(project: Path, folder: Path) -> dict[str, str]:
    """Of a function that reaches little; that any file counts makes no difference."""
    return code_of("tasks.text.tokens", "words", root=project, folder=folder)


def test_what_is_remembered_is_what_was_found(project, folder, found):
    first = words(project, folder)
    assert words(project, folder) == first
    code_of("tasks.engine.progress", "say", root=project, folder=folder)
    words(project, folder)
    assert found == ["words", "say"]
    assert first == code.code_of("tasks.text.tokens", "words", root=project)


def edit_in_place(project: Path) -> None:
    """Another content of the same size, with the mtime put back."""
    path = project / "tasks/report.py"
    stat = path.stat()
    path.write_text(path.read_text().replace("the", "thE") + "\n")
    os.truncate(path, stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    "edit",
    [
        edit_in_place,
        lambda project: (project / "tasks/new.py").write_text("x = 1\n"),
        lambda project: (project / "tasks/report.py").rename(project / "tasks/reported.py"),
        lambda project: (project / "tasks/train.py").unlink(),
        lambda project: os.utime(project / "tasks/score.py"),
    ],
    ids=["edited in place", "a new file", "renamed", "gone", "touched"],
)
def test_any_source_file_that_is_touched_has_all_found_anew(project, folder, found, edit):
    words(project, folder)
    edit(project)
    words(project, folder)
    assert found == ["words", "words"]


def test_source_that_was_written_just_now_is_not_remembered(project, folder, found):
    os.utime(project / "tasks/score.py")
    words(project, folder)
    words(project, folder)
    assert found == ["words", "words"]


@pytest.mark.parametrize("harm", [b"", b"{}", b"[]", None])
def test_a_harmed_cache_is_not_believed(project, folder, found, harm):
    right = words(project, folder)
    (path,) = (folder / "code").iterdir()
    content = path.read_bytes()
    path.write_bytes(content.replace(right["tasks.text.tokens:words"].encode(), b"0" * 64) if harm is None else harm)
    assert words(project, folder) == right
    assert found == ["words", "words"]


def test_a_home_that_cannot_be_written_only_costs_time(project, found, tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    words(project, file)
    words(project, file)
    assert found == ["words", "words"]
