"""Which files of the engine are in the keys of which steps: each is edited in turn, in a copy of the code."""

import ast
import shutil
from pathlib import Path

import pytest

from tasks.engine.code.reach import code_of
from tasks.engine.code.source import ROOT

STEPS = ("validate", "build", "train", "export", "answer", "score", "gate", "slices", "judge", "report")
ALL = set(STEPS)
NONE: set[str] = set()
# A new file of the engine has to be added here. What a step reaches and is not in its key is marked in that file.
TABLE = {
    "__init__.py": NONE,
    "adopt.py": NONE,
    "changes.py": NONE,
    "code/__init__.py": NONE,
    "code/cache.py": NONE,
    "code/reach.py": NONE,
    "code/source.py": NONE,
    "code/syntax.py": NONE,
    "digests.py": NONE,
    "errors.py": NONE,
    "inputs.py": ALL - {"gate"},  # digests of content, and of what is made from it
    "key.py": NONE,
    "lineage.py": NONE,
    "make.py": NONE,
    "mapper.py": NONE,
    "parts.py": {"validate", "build", "answer", "slices", "judge"},  # they carry outputs over from earlier work
    "plan.py": NONE,
    "progress.py": NONE,
    "record.py": {"export"},  # the model card says what is on the record of the training
    "step.py": ALL,  # the base class of configs
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "tasks", root / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def before(copy) -> dict[str, dict[str, str]]:
    return {step: code_of(f"tasks.{step}", step, root=copy) for step in STEPS}


class Edit(ast.NodeTransformer):
    """Changes every function, class and constant of a module, but for the marks."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body.append(ast.parse("0").body[0])
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body.append(ast.parse("edited = 0").body[0])
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id == "NOT_IN_KEY"):
            node.value = ast.Subscript(ast.Tuple([node.value], ast.Load()), ast.Constant(0), ast.Load())
        return node


def files() -> list[str]:
    engine = ROOT / "tasks/engine"
    return sorted(path.relative_to(engine).as_posix() for path in engine.rglob("*.py"))


@pytest.mark.parametrize("name", files())
def test_an_edit_of_a_file_of_the_engine_moves_the_keys_of_the_steps_that_it_shapes(copy, before, name):
    path = copy / "tasks/engine" / name
    text = path.read_text()
    path.write_text(ast.unparse(ast.fix_missing_locations(Edit().visit(ast.parse(text)))))
    moved = {step for step in STEPS if code_of(f"tasks.{step}", step, root=copy) != before[step]}
    path.write_text(text)
    wanted = NONE if name.startswith("storage/") else TABLE.get(name)
    assert wanted is not None, f"{name} is new: say in TABLE which steps it shapes"
    assert moved == wanted


def test_the_table_has_no_file_that_is_gone():
    assert set(TABLE) <= set(files())
