"""Imports go one way: flows → the steps in tasks/*.py → what they share → tasks/engine; nothing goes in circles.

Every import statement counts: at the top of a module, inside a function, and under TYPE_CHECKING.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOWS = {
    "cli",
    "doctor",
    "orchestration",
    "promotion",
    "review",
    "serving",
    "sweeps",
}  # folders; the other modules of flows are files
USES_PREFECT = {  # the flows themselves; all else that knows Prefect is in flows/orchestration
    "flows.maintain",
    "flows.promote",
    "flows.refresh",
    "flows.retrain",
    "flows.sweep",
}


def modules() -> dict[str, Path]:
    """Module name → file."""
    files = [path for top in ("flows", "tasks") for path in (ROOT / top).rglob("*.py")]
    found = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    assert len(found) > 50
    return found


MODULES = modules()


def imports(module: str) -> set[str]:
    """The modules that a module imports, first-party ones by their full name."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


def layer(module: str) -> int:
    """4: flows; 3: a step, tasks/NAME.py; 2: what steps share, tasks/FOLDER/; 1: the engine."""
    parts = module.split(".")
    if parts[0] == "flows":
        return 4
    if parts[:2] == ["tasks", "engine"]:
        return 1
    return 3 if MODULES[module].parent == ROOT / "tasks" and len(parts) == 2 else 2


FIRST_PARTY = {module: {each for each in imports(module) if each in MODULES} for module in MODULES}


def test_no_module_imports_from_a_layer_above_it():
    upward = [(a, b) for a, used in FIRST_PARTY.items() for b in used if layer(b) > layer(a) and b != "tasks"]
    assert upward == []


def test_no_imports_go_in_a_circle():
    try:
        TopologicalSorter(FIRST_PARTY).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_only_flows_and_their_orchestration_import_prefect():
    users = {module for module in MODULES if any(each.split(".")[0] == "prefect" for each in imports(module))}
    assert {each for each in users if not each.startswith("flows.orchestration")} <= USES_PREFECT


def test_the_engine_knows_neither_promotion_nor_reports():
    known = {each for module, used in FIRST_PARTY.items() if module.startswith("tasks.engine") for each in used}
    assert known and all(each.startswith("tasks.engine") for each in known)


def test_the_folders_of_flows_are_those_of_the_layout():
    assert {path.parent.name for path in (ROOT / "flows").glob("*/__init__.py")} == FLOWS
