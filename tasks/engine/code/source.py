"""One module's source: its top-level definitions, the text of each, and what it mentions elsewhere."""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from tasks.engine.code.syntax import (
    FIRST_PARTY,
    READS_SOURCE,
    WHOLE_MODULE,
    How,
    References,
    Symbol,
    bindings,
    bound,
    identifiers,
    is_docstring,
    is_marked,
    is_step,
    last_name,
    normalized,
    root_name,
)
from tasks.engine.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
MARK = "NOT_IN_KEY"
ON_IMPORT = "<module>"  # what importing a module does
FIELDS = " fields"  # of a config class, where they are not in the key by themselves
MAKES = {"__init__", "__new__", "__post_init__"}  # what calling a class runs
MODULE = re.compile(rf"(?:{'|'.join(FIRST_PARTY)})(?:\.\w+)+")
READERS = {"get", "items", "keys", "values"}  # of a table: they change nothing
READS_MODULE = {"globals", "vars", "eval", "exec", "sys.modules"}


class Mention(NamedTuple):
    module: str
    name: str
    how: How = "run"


class Definition:
    """A name's top-level statements; their text is made only once the name is reached."""

    def __init__(self, source: "Source") -> None:
        self.source = source
        self.statements: list[ast.stmt] = []

    @property
    def is_class(self) -> bool:
        return isinstance(self.statements[0], ast.ClassDef)

    @property
    def is_function(self) -> bool:
        return all(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in self.statements)

    @property
    def is_marked(self) -> bool:
        """Whether it is marked `not_in_key`, with a reason."""
        return all(is_marked(each) for each in self.statements)

    @property
    def is_constant(self) -> bool:
        """Whether it holds a literal that nobody can change."""
        values = [getattr(each, "value", None) for each in self.statements]
        return all(isinstance(each, ast.Constant) for each in values)

    @cached_property
    def is_config(self) -> bool:
        """Whether it is a class below `Config`, every field of which enters the key of a step."""
        bases = [each for s in self.statements if isinstance(s, ast.ClassDef) for each in s.bases]
        return any(self.source.is_config(root_name(base)) for base in bases)

    @cached_property
    def _parts(self) -> list[ast.stmt]:
        if not self.is_config:
            return self.statements
        return [_config_class(s, fields=False) if isinstance(s, ast.ClassDef) else s for s in self.statements]

    @cached_property
    def digest(self) -> str:
        return sha256_text("\n".join(map(normalized, self._parts)))

    @cached_property
    def verbatim(self) -> str:
        """Of the lines as they are written; of a config class, fields and all."""
        return sha256_text("\n".join(map(self.source.lines, self.statements)))

    @cached_property
    def reads_source(self) -> bool:
        return self.source.has(READS_SOURCE) and any(READS_SOURCE & identifiers(each) for each in self._parts)

    @cached_property
    def uses(self) -> list[Mention]:
        found = [mention for each in self._parts for mention in self.source.mentions(each)]
        if self.is_config:  # the classes of its fields, for their methods
            fields = [_config_class(s, fields=True) for s in self.statements if isinstance(s, ast.ClassDef)]
            found += [m._replace(how="type") for each in fields for m in self.source.mentions(each) if m.how == "field"]
        if self.source.has(READS_MODULE) and any(READS_MODULE & identifiers(each) for each in self._parts):
            found.append(Mention(self.source.name, WHOLE_MODULE))
        return found


class _Fields(Definition):
    """The fields of a config class that some code makes by itself: their values are in no key."""

    def __init__(self, whole: Definition) -> None:
        super().__init__(whole.source)
        self.is_config = False  # they count in full
        self.statements = [_config_class(s, fields=True) for s in whole.statements if isinstance(s, ast.ClassDef)]


@dataclass
class Source:
    """One module: its top-level definitions by name, and what its imports bind."""

    name: str
    package: str
    root: Path
    text: str
    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, list[Symbol]] = field(default_factory=dict)

    @cached_property
    def is_marked(self) -> bool:
        """Whether the module says that nothing in it can change an output: `NOT_IN_KEY = "reason"`."""
        mark = self.definitions.get(MARK)
        values = [getattr(each, "value", None) for each in mark.statements] if mark else []
        return any(isinstance(v, ast.Constant) and isinstance(v.value, str) and v.value.strip() for v in values)

    def has(self, identifiers: set[str]) -> bool:
        """Whether any of these could be in it: a quick look, to spare walking its trees."""
        return not self._words.isdisjoint(each.rpartition(".")[2] for each in identifiers)

    @cached_property
    def _words(self) -> set[str]:
        return set(re.findall(r"\w+", self.text))

    @cached_property
    def on_import(self) -> list[Mention]:
        """What counts as soon as the module is imported: its effects, and those of its own imports and packages."""
        effects = [name for name, each in self.definitions.items() if any(map(self._has_effect, each.statements))]
        symbols = [symbol for each in self.imports.values() for symbol in each]
        modules = [part for module, name in symbols for part in (module, f"{module}.{name}")]
        packages = [self.name.rpartition(".")[0]]
        return [
            *(Mention(self.name, name) for name in [ON_IMPORT, *effects]),
            *(Mention(each, ON_IMPORT) for each in [*modules, *packages] if path_of(each, self.root)),
            *(Mention(module, WHOLE_MODULE) for module, _ in self.imports.get(WHOLE_MODULE, [])),
        ]

    def lines(self, statement: ast.stmt) -> str:
        """A statement as it is written, decorators included."""
        if not hasattr(statement, "end_lineno"):
            return ""
        start = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
        return "\n".join(self.text.splitlines()[start - 1 : statement.end_lineno])

    def elsewhere(self, mention: Mention) -> Iterator[Mention]:
        """Where a name of this module leads besides its own definition."""
        name, how = mention.name, mention.how
        if name == WHOLE_MODULE:
            yield from (Mention(self.name, each) for each in self.definitions)
            yield from (
                Mention(*each, "field") for name, s in self.imports.items() if name != WHOLE_MODULE for each in s
            )
        elif name in self.imports:
            yield from (Mention(*symbol, how) for symbol in self.imports[name])
        elif name.endswith(FIELDS) and name not in self.definitions:
            self.definitions[name] = _Fields(self.definitions[name.removesuffix(FIELDS)])
            yield mention._replace(how="field")
        elif name not in self.definitions and name != ON_IMPORT and how == "run":
            submodule = f"{self.name}.{name}"
            # Bound in some way that only running it would tell: all of it counts.
            yield Mention(submodule if path_of(submodule, self.root) else self.name, WHOLE_MODULE)

    def is_config(self, name: str) -> bool:
        """Whether this name of the module's is `Config`, or a class below it."""
        for module, original in self.imports.get(name, []):
            if module.startswith("tasks.engine") and original == "Config":
                return True
            origin = read(module, self.root)
            if origin and origin.is_config(original):
                return True
        definition = self.definitions.get(name)
        return bool(definition and definition.is_config)

    def mentions(self, statement: ast.stmt) -> list[Mention]:
        """First-party symbols that a statement mentions, function-level imports included.

        A local variable that shares a name with a module-level definition counts as a use of it: one rerun too many
        is safe, one too few is not.
        """
        found_in = References(statement)
        names = dict(self.imports)
        found: list[Mention] = []
        for node in found_in.imports:
            for name, symbols in bindings(node, self.package).items():
                names[name] = [*names.get(name, []), *symbols]
                found += [Mention(*symbol) for symbol in symbols]
        for text in found_in.strings:
            module = text.partition(":")[0]
            if MODULE.fullmatch(module) and path_of(module, self.root):  # to be run or imported by its name
                found.append(Mention(module, WHOLE_MODULE))
        for (root, *path), how in found_in.names:
            if root in self.definitions:
                found.append(Mention(self.name, root, how))
            for module, name in names.get(root, []):
                found.append(Mention(module, name, how))
                # `import tasks`, and then `tasks.evaluation.metrics.abstention.detect_refusal`
                whole = name == WHOLE_MODULE
                start = module if not whole or root != module.split(".")[0] else root
                parts = [start, *([] if whole else [name]), *path]
                below = [".".join(parts[: end + 1]) for end in range(1, len(parts))]
                found += [Mention(each, WHOLE_MODULE) for each in below if path_of(each, self.root)]
                if path and path_of(start if whole else f"{module}.{name}", self.root):
                    found.append(Mention(start if whole else f"{module}.{name}", path[0], how))
        return [mention for mention in dict.fromkeys(found) if mention.module.split(".")[0] in FIRST_PARTY]

    def _has_effect(self, statement: ast.stmt) -> bool:
        """Whether running a definition may change something else: a registry, say. First-party code only."""
        if is_marked(statement):
            return False
        match statement:
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                return any(self._is_ours(root_name(each)) for each in decorators if not is_step(each))
            case ast.ClassDef(decorator_list=decorators, bases=bases, keywords=keywords):
                named = [*decorators, *bases, *(each.value for each in keywords)]
                # `__init_subclass__` or `__subclasses__()`; a config class is known by its fields.
                if any(last_name(each) == "Protocol" for each in bases):
                    return False
                return any(self._is_ours(root_name(e)) and not self.is_config(root_name(e)) for e in named)
            case ast.Assign(value=ast.expr() as value) | ast.AnnAssign(value=ast.expr() as value):
                called = (each.func for each in ast.walk(value) if isinstance(each, ast.Call))
                return any(last_name(e) not in READERS and self._runs_effect(root_name(e)) for e in called)
        return False

    def _is_ours(self, name: str) -> bool:
        modules = [self.name] * (name in self.definitions) + [module for module, _ in self.imports.get(name, [])]
        sources = [read(module, self.root) for module in modules]
        return any(each and not each.is_marked for each in sources)

    def _runs_effect(self, name: str, seen: frozenset[Symbol] = frozenset()) -> bool:
        """Whether calling this name may change first-party state: not if what it reaches is functions and constants."""
        if (self.name, name) in seen:
            return False
        seen |= {(self.name, name)}
        definition = self.definitions.get(name)
        if definition and definition.is_class:
            makers = MAKES & {made for each in definition.statements for made in bound(getattr(each, "body", []))}
            if not makers:
                return False
        elif definition and not definition.is_function:
            return not definition.is_constant
        symbols = self.imports.get(name, [])
        if definition:
            symbols = [*symbols, *((m.module, m.name) for m in definition.uses if m.how != "type")]
        origins = [(read(module, self.root), original) for module, original in symbols]
        reached = [(each, name) for each, name in origins if each and not each.is_marked]
        return any(name == WHOLE_MODULE or each._runs_effect(name, seen) for each, name in reached)


def read(module: str, root: Path) -> Source | None:
    path = path_of(module, root)
    if path is None:
        return None
    stat = path.stat()
    return _parse(module, path, root, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@cache
def _parse(module: str, path: Path, root: Path, state: tuple[int, int, int]) -> Source:
    """Split a module into definitions.

    `state`, the file's inode, size and mtime, renews the cache when a file is edited in a running process. The mtime
    alone does not: two edits can fall into one tick of the clock.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text, str(path))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not Python: {error.msg}", "mend that line") from None
    source = Source(module, package, root, text)
    for statement in tree.body:
        if _type_checking(statement):
            # It never runs, but annotations name what it imports.
            for inner in ast.walk(statement):
                for name, symbols in bindings(inner, package).items():
                    source.imports.setdefault(name, []).extend(symbols)
            continue
        for name, symbols in bindings(statement, package).items():
            source.imports.setdefault(name, []).extend(symbols)
        if is_docstring(statement) or isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        for name in _defined(statement):
            source.definitions.setdefault(name, Definition(source)).statements.append(statement)
    return source


def _config_class(node: ast.ClassDef, *, fields: bool) -> ast.ClassDef:
    """The class with nothing but its fields, or without them; a `ClassVar` and a private attribute are none."""

    def is_field(each: ast.stmt) -> bool:
        return (
            isinstance(each, ast.AnnAssign)
            and isinstance(each.target, ast.Name)
            and not each.target.id.startswith("_")
            and last_name(each.annotation) != "ClassVar"
        )

    body = [each for each in node.body if is_field(each) == fields]
    if fields:
        return ast.copy_location(ast.ClassDef(node.name, [], [], body, []), node)
    return ast.copy_location(ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list), node)


def path_of(module: str, root: Path) -> Path | None:
    """The file of a first-party module; None for any other, and if there is none."""
    if module.split(".")[0] not in FIRST_PARTY:
        return None
    base = root.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _type_checking(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and last_name(statement.test) == "TYPE_CHECKING" and not statement.orelse


def _defined(statement: ast.stmt) -> list[str]:
    """The names under which a top-level statement counts; of a branch, a loop or a bare effect, the module's import."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets) if (names := [n for each in targets for n in _targets(each)]) and all(names):
            return names
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return [*bound([statement]), ON_IMPORT]


def _targets(target: ast.expr) -> list[str]:
    """The names that an assignment binds; empty strings for `a.b` and `a[b]`, which change something else."""
    match target:
        case ast.Name(id=name):
            return [name]
        case ast.Tuple(elts=inner) | ast.List(elts=inner):
            return [name for each in inner for name in _targets(each)]
        case ast.Starred(value=value):
            return _targets(value)
    return [""]


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
