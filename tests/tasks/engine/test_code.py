"""What counts as a step's code, on small projects written for each test."""

from pathlib import Path

import pytest

from tasks.engine.changes import _code
from tasks.engine.code.reach import code_of
from tasks.engine.record import Change

PROJECT = {
    "tasks/__init__.py": "",
    "tasks/score.py": '''
"""Module docstring."""
import math
from tasks.helpers import near
from tasks import far_away
from tasks.engine import Config
from tasks.engine import step

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
    "tasks/engine/__init__.py": "def step(**_): ...\nclass Config: ...\n",
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


def lay(folder: Path, files: dict[str, str]) -> None:
    for name, text in {"tasks/__init__.py": "", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


VERSIONING = "class Config: ...\ndef step(**_): ...\n"
# What the step is written as, where the helper lies, and the helper's text before and after an edit that matters.
DEPENDENCIES = {
    "decorator": (
        "from tasks.far import twice\n@twice\ndef run(x): return x",
        "tasks/far.py",
        "def twice(f): return lambda x: f(f(x))",
        "def twice(f): return lambda x: f(x)",
    ),
    "base class": (
        "from tasks.far import Base\nclass Own(Base): ...\ndef run(x): return Own().value",
        "tasks/far.py",
        "class Base:\n  value = 1",
        "class Base:\n  value = 2",
    ),
    "default argument": (
        "from tasks.far import LIMIT\ndef run(x, limit=LIMIT): return x < limit",
        "tasks/far.py",
        "LIMIT = 1",
        "LIMIT = 2",
    ),
    "keyword-only default": (
        "from tasks.far import LIMIT\ndef run(*, x=LIMIT): return x",
        "tasks/far.py",
        "LIMIT = 1",
        "LIMIT = 2",
    ),
    "table of functions": (
        "from tasks.far import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "def near(x): return 1\nTABLE = {'near': near}",
        "def near(x): return 2\nTABLE = {'near': near}",
    ),
    "table filled by a statement": (
        "from tasks.far import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "TABLE = {}\nTABLE['near'] = lambda x: 1",
        "TABLE = {}\nTABLE['near'] = lambda x: 2",
    ),
    "table filled by |=": (
        "from tasks.far import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "TABLE = {}\nTABLE |= {'near': 1}",
        "TABLE = {}\nTABLE |= {'near': 2}",
    ),
    "table filled by a decorator in a module that is only imported": (
        "import tasks.far\nfrom tasks.table import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "from tasks.table import register\n@register\ndef near(x): return 1",
        "from tasks.table import register\n@register\ndef near(x): return 2",
    ),
    "table filled by a call whose result has a name": (
        "import tasks.far\nfrom tasks.table import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "from tasks.table import register\nnear = register(lambda x: 1)",
        "from tasks.table import register\nnear = register(lambda x: 2)",
    ),
    "table filled by a method call": (
        "import tasks.far\nfrom tasks.table import TABLE\ndef run(x): return TABLE['near'](x)",
        "tasks/far.py",
        "from tasks.table import TABLE\nnear = TABLE.setdefault('near', 1)",
        "from tasks.table import TABLE\nnear = TABLE.setdefault('near', 2)",
    ),
    "subclasses of a base": (
        "import tasks.far\nfrom tasks.table import Base\ndef run(x): return Base.__subclasses__()",
        "tasks/far.py",
        "from tasks.table import Base\nclass Near(Base):\n  def value(self): return 1",
        "from tasks.table import Base\nclass Near(Base):\n  def value(self): return 2",
    ),
    "star import": (
        "from tasks.far import *\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "star import, further on": (
        "from tasks.between import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "relative import": (
        "from .far import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "relative import of a module": (
        "from . import far\ndef run(x): return far.near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "relative import from the package above": (
        "from tasks.package.inner import run",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "re-export": (
        "from tasks.package import near\ndef run(x): return near(x)",
        "tasks/package/deep.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "re-export, by attribute": (
        "from tasks import package\ndef run(x): return package.near(x)",
        "tasks/package/deep.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "dotted import": (
        "import tasks.package.deep\ndef run(x): return tasks.package.deep.near(x)",
        "tasks/package/deep.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "two dotted imports": (
        "import tasks.package.deep\nimport tasks.table\ndef run(x): return tasks.package.deep.near(x)",
        "tasks/package/deep.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "submodule that someone else imports": (
        "from tasks import package\ndef run(x): return package.deep.other(x)",
        "tasks/package/deep.py",
        "def near(x): ...\ndef other(x): return 1",
        "def near(x): ...\ndef other(x): return 2",
    ),
    "import in a function": (
        "def run(x):\n  import tasks.package.deep as d\n  return d.near(x)",
        "tasks/package/deep.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "import in a branch": (
        "try:\n  from tasks.far import near\nexcept ImportError:\n  near = None\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "import in another module's branch": (
        "from tasks.branch import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "python -m": (
        "from tasks import far\ndef run(x): start('-m', far.__name__)",
        "tasks/far.py",
        "def main(): return 1",
        "def main(): return 2",
    ),
    "module by its name": (
        "def run(x): start('-m', 'tasks.far')",
        "tasks/far.py",
        "def main(): return 1",
        "def main(): return 2",
    ),
    "getattr of a module": (
        "from tasks import far\ndef run(x): return getattr(far, x)()",
        "tasks/far.py",
        "def near(): return 1",
        "def near(): return 2",
    ),
    "getattr of an object": (
        "from tasks.far import Table\ndef run(x): return getattr(Table(), x)()",
        "tasks/far.py",
        "class Table:\n  def near(self): return 1",
        "class Table:\n  def near(self): return 2",
    ),
    "globals()": (
        "from tasks.far import find\ndef run(x): return find(x)()",
        "tasks/far.py",
        "def near(): return 1\ndef find(x): return globals()[x]",
        "def near(): return 2\ndef find(x): return globals()[x]",
    ),
    "a module's __getattr__": (
        "from tasks.far import near\ndef run(x): return near",
        "tasks/far.py",
        "def __getattr__(name): return 1",
        "def __getattr__(name): return 2",
    ),
    "if and else at the top level": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "import sys\nif sys.platform == 'linux':\n  def near(x): return 1",
        "import sys\nif sys.platform == 'linux':\n  def near(x): return 2",
    ),
    "if not TYPE_CHECKING": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "if not TYPE_CHECKING:\n  def near(x): return 1",
        "if not TYPE_CHECKING:\n  def near(x): return 2",
    ),
    "a name defined twice": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "def near(x): return 1\nnear = wrap(near, 1)",
        "def near(x): return 1\nnear = wrap(near, 2)",
    ),
    "method of the config": (
        "from tasks.far import RunConfig\ndef run(config: RunConfig): return config.twice()",
        "tasks/far.py",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  n: int = 1\n  def twice(self): return 2",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  n: int = 1\n  def twice(self): return 3",
    ),
    "method of a config within the config": (
        "from tasks.engine import Config\nfrom tasks.far import Inner\n"
        "class RunConfig(Config):\n  inner: Inner = Inner()\ndef run(config: 'RunConfig'): return config.inner.twice()",
        "tasks/far.py",
        "from tasks.engine import Config\nclass Inner(Config):\n  def twice(self): return 2",
        "from tasks.engine import Config\nclass Inner(Config):\n  def twice(self): return 3",
    ),
    "ClassVar of the config": (
        "from tasks.far import RunConfig\ndef run(config: RunConfig): return config.limit",
        "tasks/far.py",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: ClassVar[int] = 1",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: ClassVar[int] = 2",
    ),
    "config that the code makes by itself": (
        "from tasks.far import RunConfig\ndef run(x): return RunConfig().limit",
        "tasks/far.py",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: int = 1",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: int = 2",
    ),
    "config that the code makes by itself, where sources are read": (
        "import inspect\nfrom tasks.far import RunConfig\ndef run(x): return inspect.getsource(x), RunConfig().limit",
        "tasks/far.py",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: int = 1",
        "from tasks.engine import Config\nclass RunConfig(Config):\n  limit: int = 2",
    ),
    "a class that only looks like a config": (
        "from tasks.far import Own\ndef run(x: Own): return x.r",
        "tasks/far.py",
        "from peft import LoraConfig\nclass Own(LoraConfig):\n  r: int = 1",
        "from peft import LoraConfig\nclass Own(LoraConfig):\n  r: int = 2",
    ),
    "class in a TYPE_CHECKING annotation": (
        "if TYPE_CHECKING:\n  from tasks.far import Prompt\ndef run(x: 'Prompt'): return x.render()",
        "tasks/far.py",
        "class Prompt:\n  def render(self): return 1",
        "class Prompt:\n  def render(self): return 2",
    ),
    "what a method of an annotated class calls": (
        "from tasks.package.typed import Prompt\ndef run(x: Prompt): return x.render()",
        "tasks/far.py",
        "def near(x): return 1",
        "def near(x): return 2",
    ),
    "class behind an alias": (
        "from tasks.far import Prompt\nAny = Prompt | None\ndef run(x: Any): return x.render()",
        "tasks/far.py",
        "class Prompt:\n  def render(self): return 1",
        "class Prompt:\n  def render(self): return 2",
    ),
    "docstring that is read": (
        "from tasks.far import near\ndef run(x): return near.__doc__",
        "tasks/far.py",
        "def near(x):\n  'one'",
        "def near(x):\n  'two'",
    ),
    "source that is read": (
        "import inspect\nfrom tasks.far import near\ndef run(x): return inspect.getsource(near)",
        "tasks/far.py",
        "def near(x): return 1  # one",
        "def near(x): return 1  # two",
    ),
    "annotation that a decorator reads": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "tasks/far.py",
        "from functools import singledispatch\n@singledispatch\ndef near(x: int): return 1",
        "from functools import singledispatch\n@singledispatch\ndef near(x: str): return 1",
    ),
    "dataclass field": (
        "from tasks.far import Row\ndef run(x): return Row()",
        "tasks/far.py",
        "@dataclass\nclass Row:\n  n: int = 1",
        "@dataclass\nclass Row:\n  n: int = 2",
    ),
    "effect of importing a package": (
        "from tasks.loud.quiet import near\ndef run(x): return near(x)",
        "tasks/loud/__init__.py",
        "import sys\nsys.setrecursionlimit(10)",
        "import sys\nsys.setrecursionlimit(20)",
    ),
}


@pytest.mark.parametrize(("step", "name", "before", "after"), DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_a_step_depends_on_what_it_reaches_however_it_reaches_it(tmp_path, step, name, before, after):
    around = {
        "tasks/engine/__init__.py": VERSIONING,
        "tasks/table.py": "TABLE = {}\nclass Base: ...\ndef register(f):\n  TABLE[f.__name__] = f\n  return f",
        "tasks/between.py": "from tasks.far import *",
        "tasks/branch.py": "if FAST:\n  from tasks.far import near",
        "tasks/package/__init__.py": "from tasks.package.deep import near",
        "tasks/package/deep.py": "def near(x): ...",
        "tasks/package/inner.py": "from ..far import near\ndef run(x): return near(x)",
        "tasks/package/typed.py": "from tasks.far import near\nclass Prompt:\n  def render(self): return near(1)",
        "tasks/loud/quiet.py": "def near(x): ...",
    }
    lay(tmp_path, {**around, "tasks/run.py": step, name: before})
    first = code_of("tasks.run", "run", root=tmp_path)
    lay(tmp_path, {name: after})
    assert code_of("tasks.run", "run", root=tmp_path) != first
    lay(tmp_path, {name: before + "\n\n# a comment\n"})
    if "source" not in step:
        assert code_of("tasks.run", "run", root=tmp_path) == first


def test_what_no_one_mentions_does_not_count(tmp_path):
    lay(tmp_path, {"tasks/run.py": "from tasks.far import near\ndef run(x): return near(x)"})
    lay(tmp_path, {"tasks/far.py": "import re\nNUMBER = re.compile('1')\ndef near(x): return 1\ndef other(x): ..."})
    assert list(code_of("tasks.run", "run", root=tmp_path)) == ["tasks.far:near", "tasks.run:run"]


MARKS = {
    "module": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "NOT_IN_KEY = 'it logs'\ndef near(x): return {}",
    ),
    "function": (
        "from tasks.far import near\ndef run(x): return near(x)",
        "from tasks.engine.code import not_in_key\n@not_in_key('it logs')\ndef near(x): return {}",
    ),
    "class": (
        "from tasks.far import Near\ndef run(x): return Near().x",
        "from tasks.engine.code import not_in_key\n@not_in_key('it logs')\nclass Near:\n  x = {}",
    ),
    "method": (
        "from tasks.far import Near\ndef run(x): return Near().x()",
        "from tasks.engine.code import not_in_key\nclass Near:\n  @not_in_key('it logs')\n  def x(self): return {}",
    ),
}


@pytest.mark.parametrize(("step", "far"), MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("has_reason", [True, False])
def test_what_is_marked_with_a_reason_does_not_count(tmp_path, step, far, has_reason):
    far = far if has_reason else far.replace("it logs", " ")
    codes = []
    for value in "12":
        lay(tmp_path, {"tasks/run.py": step, "tasks/far.py": far.replace("{}", value)})
        codes.append(code_of("tasks.run", "run", root=tmp_path))
    assert (codes[0] == codes[1]) == has_reason


def test_an_edit_within_a_running_process_is_seen(project):
    before = code_of("tasks.score", "score", root=project)
    edit(project, "tasks/far_away.py", "row + 1", "row + 3")
    assert code_of("tasks.score", "score", root=project) != before


NEAR = "LIMIT = 1\ndef near(x):\n  return x + LIMIT"
IMPORTS = ("from {} import near\ndef run(x): return near(x)", "def run(x):\n  from {} import near\n  return near(x)")


def changes_between(folder: Path, *trees: dict[str, str]) -> list[Change]:
    """What changed in the code of `tasks.run:run` from the first tree of files to the second."""
    payloads = []
    for number, files in enumerate(trees):
        lay(folder / str(number), files)
        payloads.append({"code": code_of("tasks.run", "run", root=folder / str(number))})
    return list(_code(*payloads))


@pytest.mark.parametrize("run", IMPORTS)
def test_a_renamed_file_is_told_as_moved(tmp_path, run):
    before = {"tasks/run.py": run.format("tasks.far"), "tasks/far.py": NEAR}
    after = {"tasks/run.py": run.format("tasks.deep.away"), "tasks/deep/away.py": f"# elsewhere\n{NEAR}"}
    moved = Change(kind="moved", name="tasks/deep/away.py", before="tasks/far.py", changed=("LIMIT", "near"))
    assert changes_between(tmp_path, before, after) == [moved]


def test_a_file_that_is_renamed_and_edited_is_moved_only_in_part(tmp_path):
    before = {"tasks/run.py": IMPORTS[0].format("tasks.far"), "tasks/far.py": NEAR}
    after = {"tasks/run.py": IMPORTS[0].format("tasks.away"), "tasks/away.py": NEAR.replace("= 1", "= 2")}
    found = changes_between(tmp_path, before, after)
    assert {each.kind for each in found} == {"code"}  # `near` means another LIMIT now
    assert {name for each in found for name in (*each.added, *each.removed)} == {"LIMIT", "near"}


def test_an_import_that_changes_sides_changes_the_code(tmp_path):
    """Each file has a `near`, both are used, and no text but that of the imports differs."""
    files = {"tasks/far.py": "def near(x): return 1", "tasks/away.py": "def near(x): return 2"}
    one, other = ("from tasks.{} import near as {}".format(*pair) for pair in (("far", "a"), ("away", "b")))
    text = "{}\n{}\ndef run(x): return a(x) - b(x)"
    before = files | {"tasks/run.py": text.format(one, other)}
    after = files | {"tasks/run.py": text.format(one.replace("as a", "as b"), other.replace("as b", "as a"))}
    assert [each.name for each in changes_between(tmp_path, before, after)] == ["tasks/run.py"]


def test_every_file_that_is_no_python_is_a_resource_or_an_input():
    """What a step reads beside it would not be in its key."""
    from importlib import import_module

    from tasks.engine.code.source import ROOT
    from tasks.reporting.rendering import templates

    steps = ("validate", "build", "train", "export", "answer", "score", "gate", "slices", "judge", "report")
    resources = {each for name in steps for each in getattr(import_module(f"tasks.{name}"), name).resources}
    shape_no_output = {
        *templates("ui"),  # of pages outside of steps
        "tasks/training/gpu_lost.yaml",  # after which errors a training is tried again
        "tasks/synthesis/questions.yaml",  # of a command that writes rows; no step reads them
        "tasks/synthesis/teacher.yaml",
    }
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tasks").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    chat = {name for name in found if name.startswith("tasks/prompts/templates/")}
    assert {name for name in found if not name.endswith((".py", ".md"))} - chat - shape_no_output == {
        name for name in resources if not name.endswith(".md")
    } - chat
