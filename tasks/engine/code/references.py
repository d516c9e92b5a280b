"""What a statement speaks of: the names, dotted names, imports and strings in it, and how each is mentioned."""

import ast
from typing import Literal

from tasks.engine.code.meaning import Function, is_step, reads_annotations

WHOLE_MODULE = "*"

Symbol = tuple[str, str]  # module, name in it
How = Literal["run", "field", "type"]  # mentioned by code, by a class attribute's annotation, by a function's


class Spoken:
    """Of one statement: dotted names, each with how it is mentioned, import statements, and strings."""

    def __init__(self, statement: ast.stmt) -> None:
        self.names: list[tuple[list[str], How]] = []
        self.imports: list[ast.AST] = []
        self.strings: list[str] = []
        self._look(statement, "field")

    def _look(self, node: ast.AST | None, here: How) -> None:
        """`here` is how a variable's annotation counts: those of class attributes can be read, those of locals not."""
        match node:
            case ast.Name() | ast.Attribute() if path := _dotted(node):
                self.names.append((path, "run"))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._look_at_function(node)
            case ast.AnnAssign(annotation=annotation, target=target, value=value):
                self._look_at_annotation(annotation, here)
                self._look(target, here)
                self._look(value, here)
            case ast.Import() | ast.ImportFrom():
                self.imports.append(node)
            case ast.Constant(value=str(text)):
                self.strings.append(text)
            case ast.AST():
                for inner in ast.iter_child_nodes(node):
                    self._look(inner, here)

    def _look_at_function(self, node: Function) -> None:
        how: How = "run" if reads_annotations(node) else "type"
        arguments = node.args
        decorators = [each for each in node.decorator_list if not is_step(each)]
        for evaluated in [*decorators, *arguments.defaults, *arguments.kw_defaults, *node.body]:
            self._look(evaluated, "type")
        annotated = (each.annotation for each in ast.walk(arguments) if isinstance(each, ast.arg))
        for annotation in [*annotated, node.returns]:
            if annotation:
                self._look_at_annotation(annotation, how)

    def _look_at_annotation(self, annotation: ast.expr, how: How) -> None:
        for node in ast.walk(annotation):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    self._look_at_annotation(ast.parse(node.value, mode="eval").body, how)  # "Prompt"
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
