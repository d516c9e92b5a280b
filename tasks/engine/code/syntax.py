"""What a statement of Python says: its normalized text, and the names, imports and strings that it mentions.

Two spellings of one program have one text: formatting, comments, quotes, docstrings, the annotations of functions and
their imports of first-party code are left out. Names are kept, those of locals too. The text is written from the syntax
tree field by field, not by `ast.unparse`, whose output may differ between releases of Python.
"""

import ast
from collections.abc import Iterator
from typing import Any, Literal

Function = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, *COMPREHENSIONS)
# Code that reads docstrings, annotations or source, wherever those are. With a dot: as an attribute.
READS_SOURCE = {"inspect", "signature", "getdoc", "getsource", "get_type_hints", "get_annotations", "__doc__"}
READS_SOURCE |= {".__doc__", ".__annotations__", ".__code__", ".get_type_hints"}
# Decorators that take no notice of annotations; any other may.
PLAIN_DECORATORS = {"property", "cached_property", "staticmethod", "classmethod", "cache", "contextmanager", "step"}
NO_MEANING = {"ctx", "kind", "type_comment"}  # fields of the tree
WHOLE_MODULE = "*"
FIRST_PARTY = ("tasks", "flows")

Symbol = tuple[str, str]  # module, name in it
How = Literal["run", "field", "type"]  # mentioned by code, by a class attribute's annotation, by a function's


def normalized(statement: ast.stmt) -> str:
    """The text of a top-level statement of a module: `Kind(field=…, …)`."""
    return _write(statement, annotations=False, in_function=False)


def _write(value: Any, annotations: bool, in_function: bool) -> str:
    def node(tree: ast.AST, annotations: bool = annotations, in_function: bool = in_function, **instead: Any) -> str:
        # An empty field is left out: a later Python may have added it.
        fields = {name: instead.get(name, getattr(tree, name, None)) for name in tree._fields}
        texts = (
            f"{name}={_write(each, annotations, in_function)}"
            for name, each in fields.items()
            if name not in NO_MEANING and each is not None and each != []
        )
        return f"{type(tree).__name__}({', '.join(texts)})"

    match value:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            annotated = annotations or reads_annotations(value)
            decorators = [each for each in value.decorator_list if not is_step(each)]
            returns = value.returns if annotated else None
            head = node(value, annotated, body=[], decorator_list=decorators, returns=returns)
            return head + _write(counted(value.body), annotated, in_function=True)
        case ast.ClassDef():
            return node(value, annotations or reads_annotations(value), body=counted(value.body))
        case ast.arg() if not annotations:
            return node(value, annotation=None)
        case ast.AnnAssign(target=target, value=set_to) if in_function:
            # In a function it is never evaluated; without a value it still makes the name a local.
            return node(ast.Assign([target], set_to)) if set_to else f"AnnAssign({node(target)})"
        case ast.AST():
            return node(value)
        case list():
            kept = (each for each in value if not (in_function and imports_first_party(each)))
            return f"[{', '.join(_write(each, annotations, in_function) for each in kept)}]"
    return ascii(value)  # what `repr` escapes goes by Unicode's tables, which grow


def counted(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a body that count: no docstrings, no `pass`, nothing that is marked `not_in_key`."""
    return [each for each in body if not (is_docstring(each) or isinstance(each, ast.Pass) or is_marked(each))]


def imports_first_party(node: Any) -> bool:
    """Whether it imports nothing but first-party code. What such names mean counts, not which module they are from."""
    match node:
        case ast.ImportFrom(module=module, level=level):
            return level > 0 or str(module).split(".")[0] in FIRST_PARTY
        case ast.Import(names=names):
            return all(each.asname and each.name.split(".")[0] in FIRST_PARTY for each in names)
    return False


def is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a bare string: nothing comes of it but perhaps `__doc__`."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def is_marked(statement: ast.stmt) -> bool:
    """`@not_in_key("reason")`; a mark without a reason is none."""
    for decorator in getattr(statement, "decorator_list", ()):
        match decorator:
            case ast.Call(func=called, args=[ast.Constant(value=str(reason))]) if last_name(called) == "not_in_key":
                return bool(reason.strip())
    return False


def is_step(decorator: ast.expr) -> bool:
    """`@step(libraries=…)`: the versions of the libraries and the resources enter the key by themselves."""
    return isinstance(decorator, ast.Call) and last_name(decorator.func) == "step"


def reads_annotations(node: Function | ast.ClassDef) -> bool:
    """Whether a decorator might."""
    return any(last_name(decorator) not in PLAIN_DECORATORS for decorator in node.decorator_list)


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


def identifiers(node: ast.AST) -> set[str]:
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


def bound(body: list[ast.stmt]) -> frozenset[str]:
    """The names that statements bind in their own scope."""
    names: set[str] = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        names.update(_binds(node))
        if isinstance(node, COMPREHENSIONS):  # `:=` binds outside of it
            names.update(n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr))
        elif not isinstance(node, SCOPES):
            todo += ast.iter_child_nodes(node)
    return frozenset(names)


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


class References:
    """What one statement mentions: dotted names, each with how it is mentioned, import statements, and strings."""

    def __init__(self, statement: ast.stmt) -> None:
        self.names: list[tuple[list[str], How]] = []
        self.imports: list[ast.AST] = []
        self.strings: list[str] = []
        self._visit(statement, "field")

    def _visit(self, node: ast.AST | None, here: How) -> None:
        """`here` is how a variable's annotation counts: those of class attributes can be read, those of locals not."""
        match node:
            case ast.Name() | ast.Attribute() if path := _dotted(node):
                self.names.append((path, "run"))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._visit_function(node)
            case ast.ClassDef():
                for each in [*node.decorator_list, *node.bases, *node.keywords, *counted(node.body)]:
                    self._visit(each, here)
            case ast.AnnAssign(annotation=annotation, target=target, value=value):
                self._visit_annotation(annotation, here)
                self._visit(target, here)
                self._visit(value, here)
            case ast.Import() | ast.ImportFrom():
                self.imports.append(node)
            case ast.Constant(value=str(text)):
                self.strings.append(text)
            case ast.AST():
                for inner in ast.iter_child_nodes(node):
                    self._visit(inner, here)

    def _visit_function(self, node: Function) -> None:
        how: How = "run" if reads_annotations(node) else "type"
        arguments = node.args
        decorators = [each for each in node.decorator_list if not is_step(each)]
        for evaluated in [*decorators, *arguments.defaults, *arguments.kw_defaults, *node.body]:
            self._visit(evaluated, "type")
        annotated = (each.annotation for each in ast.walk(arguments) if isinstance(each, ast.arg))
        for annotation in [*annotated, node.returns]:
            if annotation:
                self._visit_annotation(annotation, how)

    def _visit_annotation(self, annotation: ast.expr, how: How) -> None:
        for node in ast.walk(annotation):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    self._visit_annotation(ast.parse(node.value, mode="eval").body, how)  # "Prompt"
                except SyntaxError:
                    continue  # a description in Annotated[…]
            elif path := _dotted(node):
                self.names.append((path, how))


def _dotted(node: ast.AST) -> list[str]:
    """["a", "b", "c"] of `a.b.c`; empty if there is more to it than names."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def bindings(node: ast.AST, package: str) -> dict[str, list[Symbol]]:
    """What an import statement binds: local name → (module, name in it, or the whole module)."""
    bindings: dict[str, list[Symbol]] = {}
    if isinstance(node, ast.Import):
        for each in node.names:
            bindings.setdefault(each.asname or each.name.split(".")[0], []).append((each.name, WHOLE_MODULE))
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        for each in node.names:
            bindings.setdefault(each.asname or each.name, []).append((origin, each.name))
    return bindings
