"""What a step's code is: every first-party definition that it reaches, by meaning.

The source is read, never imported, so that a plan needs no torch. A definition counts as it stands after comments,
docstrings, formatting and type annotations are gone; a config class counts by its methods alone, because its values
are in the key by themselves.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_PARTY = ("tasks", "flows")
# Code that decides when and where a step runs and what a person sees meanwhile; it cannot change what a step writes.
NOT_SHAPING = ("tasks.versioning", "tasks.progress", "tasks.errors")
WHOLE_MODULE = "*"

Symbol = tuple[str, str]


def code_of(module: str, name: str, *, root: Path = ROOT) -> dict[str, str]:
    """Digest every first-party definition reached from `module`.`name`.

    Returns {"tasks.score:score": sha256 hex, "tasks.metrics.abstention:detect_refusal": …}, sorted by name.
    """
    reached: dict[str, str] = {}
    todo: list[Symbol] = [(module, name)]
    seen: set[Symbol] = set()
    while todo:
        symbol = todo.pop()
        if symbol in seen or symbol[0].startswith(NOT_SHAPING):
            continue
        seen.add(symbol)
        source = _read(symbol[0], root)
        if source is None:
            continue
        if symbol[1] == WHOLE_MODULE:
            todo += [(source.name, each) for each in source.definitions]
            continue
        if symbol[1] in source.imports and symbol[1] not in source.definitions:
            todo.append(source.imports[symbol[1]])
            continue
        if symbol[1] not in source.definitions:
            submodule = f"{source.name}.{symbol[1]}"
            if _path(submodule, root):
                todo.append((submodule, WHOLE_MODULE))
            continue
        for part in (symbol[1], "<module>"):
            definition = source.definitions.get(part)
            if definition:
                reached[f"{source.name}:{part}"] = definition.digest
                todo += definition.uses
    return dict(sorted(reached.items()))


@dataclass
class _Definition:
    """A name's top-level statements; they are read for meaning only once the name is reached."""

    source: "_Source"
    statements: list[ast.stmt] = field(default_factory=list)

    @cached_property
    def _plain(self) -> list[ast.stmt]:
        return [_Plain().visit(statement) for statement in self.statements]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(map(ast.unparse, self._plain)).encode()).hexdigest()

    @cached_property
    def uses(self) -> list[Symbol]:
        return [symbol for statement in self._plain for symbol in _uses(statement, self.source)]


@dataclass
class _Source:
    """One module: its top-level definitions by name, and what its imports bind."""

    name: str
    package: str
    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, Symbol] = field(default_factory=dict)


def _path(module: str, root: Path) -> Path | None:
    if module.split(".")[0] not in FIRST_PARTY:
        return None
    base = root.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _read(module: str, root: Path) -> _Source | None:
    path = _path(module, root)
    return _parse(module, path, path.stat().st_mtime_ns) if path else None


@cache
def _parse(module: str, path: Path, modified_ns: int) -> _Source:
    """Split a module into definitions; `modified_ns` renews the cache when a file is edited in a running process."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    source = _Source(module, package)
    for statement in _flatten(tree.body):
        source.imports.update(_bindings(statement, package))
        if _is_docstring(statement) or isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        for name in _defined(statement) or ["<module>"]:
            source.definitions.setdefault(name, _Definition(source)).statements.append(statement)
    return source


def _flatten(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, with `if TYPE_CHECKING:` left out: it never runs."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from statement.orelse
        else:
            yield statement


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement binds; none for a bare effect such as a call."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and _stored(n)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _bindings(node: ast.AST, package: str) -> dict[str, Symbol]:
    """What an import statement binds: local name → (module, name in it, or the whole module)."""
    if isinstance(node, ast.Import):
        return {(a.asname or a.name.split(".")[0]): (a.name, WHOLE_MODULE) for a in node.names}
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        return {(a.asname or a.name): (origin, a.name) for a in node.names}
    return {}


def _uses(node: ast.AST, source: _Source) -> list[Symbol]:
    """First-party symbols that a definition mentions, function-level imports included.

    A local variable that shares a name with a module-level definition counts as a use of it: one rerun too many is
    safe, one too few is not.
    """
    bound, names = dict(source.imports), set()
    found: list[Symbol] = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            names.add(inner.id)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            local = _bindings(inner, source.package)
            bound.update(local)
            found += local.values()
    for name in sorted(names):
        if name in source.definitions:
            found.append((source.name, name))
        elif name in bound:
            found.append(bound[name])
    return [symbol for symbol in found if symbol[0].split(".")[0] in FIRST_PARTY]


class _Plain(ast.NodeTransformer):
    """Drops what has no meaning to a run: docstrings, annotations, and the fields of config classes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        node.body = _without_docstring(node.body)
        node.decorator_list = [d for d in node.decorator_list if not _is_step(d)]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        if any(isinstance(base, ast.Name) and base.id.endswith("Config") for base in node.bases):
            node.body = [s for s in node.body if not isinstance(s, ast.AnnAssign)] or [ast.Pass()]
        return node


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    return [s for s in body if not _is_docstring(s)] or [ast.Pass()]


def _is_step(decorator: ast.expr) -> bool:
    """`@step(libraries=…)`: the versions of the libraries and the resources enter the key by themselves."""
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "step"
