"""What a definition means, as text: equal for two spellings of one program, different for two programs.

What goes: formatting, comments, quotes, docstrings, annotations of functions, and the names of their locals. The text
is written from the syntax tree field by field, not by `ast.unparse`, whose output is no promise between releases.

A local's name goes by renaming it after the order in which locals appear, in the whole of an outermost function. Sound,
because the renaming is one-to-one, new names cannot be written in Python, and a name is renamed only where no one can
see it: Python's scopes are lexical, and the name is bound by the function itself (an assignment, a loop, `with`,
`except`, a comprehension), not by a parameter (callers may name it), an import, `def` or `class` (`__name__` shows
them), a class body (an attribute), `global`, the module, or the builtins. A definition that may look at its own
variables by name keeps them all, and so does a module that imports a library which looks at its caller's.
"""

import ast
import builtins
from collections.abc import Iterator, Mapping
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, *COMPREHENSIONS)
# Code that looks at variables by name; and at docstrings, annotations or source, wherever those are. With a dot: as an
# attribute; `model.eval()` is no `eval`.
SEES_LOCALS = {"locals", "vars", "eval", "exec", "globals", "dir", "inspect", "currentframe", "builtins"}
SEES_LOCALS |= {"._getframe", ".f_locals", ".__code__"}
SEES_SOURCE = {
    "inspect",
    "signature",
    "getdoc",
    "getsource",
    "get_type_hints",
    "get_annotations",
    "__doc__",
    ".__doc__",
}
SEES_SOURCE |= {".__annotations__", ".__code__", ".get_type_hints"}
SEES_CALLERS_LOCALS = {"pandas", "polars", "numexpr", "duckdb", "patsy"}  # as in df.query("a > @limit")
# Decorators that take no notice of annotations; any other may.
PLAIN_DECORATORS = {"property", "cached_property", "staticmethod", "classmethod", "cache", "contextmanager", "step"}
NO_MEANING = {"ctx", "kind", "type_comment"}


def meaning(statement: ast.stmt, taken: frozenset[str] | None = frozenset(), sees_locals: bool = True) -> str:
    """The text of a top-level statement of a module.

    `taken` are the names that the module binds itself; None: locals keep their names. `sees_locals` is False if none
    of `SEES_LOCALS` occurs in it, which spares looking.
    """
    if taken is not None and sees_locals and SEES_LOCALS & mentions(statement):
        taken = None
    return _Writer(taken).write(statement)


def bound(body: list[ast.stmt]) -> frozenset[str]:
    """The names that statements bind in their own scope, and those that functions below them declare global."""
    names: set[str] = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        names.update(_binds(node))
        if isinstance(node, SCOPES):
            names.update(name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names)
            if isinstance(node, COMPREHENSIONS):  # `:=` binds outside of it
                walrus = (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
                names.update(name for target in walrus for name in _binds(target))
        else:
            todo += ast.iter_child_nodes(node)
    return frozenset(names)


def is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a bare string: nothing comes of it but perhaps `__doc__`."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def root_name(node: ast.expr) -> str:
    """`a` of `a`, `a.b`, `a.b(c)` and `a[b]`; empty where there is no name at the root."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case _:
                return ""
    return node.id


def last_name(node: ast.expr) -> str:
    """`c` of `c`, `a.b.c` and `a.c(d)`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return last_name(inner)
    return ""


def reads_annotations(node: Function | ast.ClassDef) -> bool:
    """Whether a decorator might."""
    return any(last_name(decorator) not in PLAIN_DECORATORS for decorator in node.decorator_list)


def is_step(decorator: ast.expr) -> bool:
    """`@step(libraries=…)`: the versions of the libraries and the resources enter the key by themselves."""
    return isinstance(decorator, ast.Call) and last_name(decorator.func) == "step"


def mentions(node: ast.AST) -> set[str]:
    """Every identifier in it: `name`, `.attribute`, and both of `name.attribute`."""
    found = set()
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name):
                found.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                found |= {f".{attribute}", f"{name}.{attribute}"}
            case ast.Attribute(attr=attribute):
                found.add(f".{attribute}")
    return found


class _Writer:
    """Writes a tree as `Kind(field=…, …)`. `renamed` is None outside functions."""

    def __init__(
        self, taken: frozenset[str] | None, renamed: Mapping[str, str] | None = None, annotations: bool = False
    ) -> None:
        self.taken = taken
        self.renamed = renamed
        self.annotations = annotations

    def write(self, value: Any) -> str:
        match value:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(value)
            case ast.ClassDef():
                inner = _Writer(self.taken, self.renamed, self.annotations or reads_annotations(value))
                return inner._node(value, body=_without_docstrings(value.body))
            case ast.arg() if not self.annotations:
                return self._node(value, annotation=None)
            case ast.AnnAssign(target=target, value=set_to) if self.renamed is not None:
                # In a function it is never evaluated; without a value it still makes the name a local.
                return self._node(ast.Assign([target], set_to)) if set_to else f"AnnAssign({self.write(target)})"
            case ast.Name(id=name):
                return f"Name({self._name(name)})"
            case ast.ExceptHandler(name=str(name)):
                return self._node(value, name=self._name(name))
            case ast.AST():
                return self._node(value)
            case list():
                return f"[{', '.join(map(self.write, value))}]"
        return ascii(value)  # `repr` leaves to Unicode's tables, which grow, what it escapes

    def _node(self, node: ast.AST, **instead: Any) -> str:
        # An empty field is left out: a later Python may have added it.
        told = {name: instead.get(name, getattr(node, name, None)) for name in node._fields if name not in NO_MEANING}
        told |= {name: value for name, value in instead.items() if name in told}
        fields = (f"{n}={self.write(v)}" for n, v in told.items() if v is not None and v != [])
        return f"{type(node).__name__}({', '.join(fields)})"

    def _function(self, node: Function) -> str:
        annotations = self.annotations or reads_annotations(node)
        # Decorators and defaults are evaluated outside, where a local of the same name is another.
        outside = _Writer(self.taken, self.renamed, annotations)
        renamed = self.renamed if self.renamed is not None else _renamed(node, self.taken)
        body = _Writer(self.taken, renamed, annotations).write(_without_docstrings(node.body))
        decorators = [each for each in node.decorator_list if not is_step(each)]
        returns = node.returns if annotations else None
        return outside._node(node, body=[], decorator_list=decorators, returns=returns) + body

    def _name(self, name: str) -> str:
        return (self.renamed or {}).get(name, name)


def _without_docstrings(body: list[ast.stmt]) -> list[ast.stmt]:
    return [each for each in body if not is_docstring(each) and not isinstance(each, ast.Pass)]


def _renamed(function: Function, taken: frozenset[str] | None) -> dict[str, str]:
    """New names for the locals of an outermost function and of what is nested in it."""
    if taken is None:
        return {}
    stored: dict[str, None] = {}  # in order of appearance
    kept = {*taken, *vars(builtins)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stored[node.id] = None
        elif isinstance(node, ast.ExceptHandler) and node.name:
            stored[node.name] = None
        elif isinstance(node, ast.ClassDef):
            kept |= {node.name, *bound(node.body)}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            kept.update(node.names)
        elif isinstance(node, ast.arg):
            kept.add(node.arg)
        else:
            kept.update(_binds(node))
    return {name: f"${number}" for number, name in enumerate(name for name in stored if name not in kept)}


def _binds(node: ast.AST) -> Iterator[str]:
    """The names that this very node binds, in whichever scope it stands."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (each.asname or each.name.split(".")[0] for each in names)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
