"""What a step's code is: every first-party definition that it reaches, by its normalized text.

The source is read, never imported, so that a plan needs no torch. Reached is what a definition mentions: by name,
through imports at any depth, as a module of its own (`python -m`), in a base class, a decorator or a default. Of every
module that is imported on the way, what importing it does counts as well: a bare call, a decorator that registers.
Where names cannot tell (a star import, `globals()`, a module's `__getattr__`), the whole module counts. What cannot
change an output is marked, see `tasks.engine.code`.

Where an annotation names a class, the class is reached; the annotation itself does not count. A config class that is
named in annotations alone counts by its methods, because its values are in the key by themselves.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.engine.code.source import FIELDS, ROOT, Definition, Mention, Source, path_of, read, sha256_text

HALF = 32  # hexadecimal digits: of a definition's text, then of the definitions that its names mean


def code_of(module: str, name: str, *, root: Path = ROOT) -> dict[str, str]:
    """Digest every first-party definition reached from `module`.`name`.

    Returns {"tasks.score:score": hex, "tasks.evaluation.metrics.abstention:detect_refusal": hex, …}, sorted by name.
    No digest holds the name of a module, so that one whose file was renamed is the same.
    """
    return _Reach(root).code_of(module, name)


class _Reach:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources: dict[str, Source | None] = {}

    def source(self, module: str) -> Source | None:
        """The module's source; None if it is not first-party, or marked."""
        if module not in self.sources:
            source = read(module, self.root)
            self.sources[module] = source if source and not source.is_marked else None
        return self.sources[module]

    def code_of(self, module: str, name: str) -> dict[str, str]:
        reached: dict[str, Definition] = {}
        imported: set[str] = set()
        todo = [Mention(module, name)]
        seen: set[Mention] = set()
        while todo:
            mention = todo.pop()
            source = None if mention in seen else self.source(mention.module)
            seen.add(mention)
            if source is None:
                continue
            if source.name not in imported:
                imported.add(source.name)
                todo += source.on_import
            definition = source.definitions.get(mention.name)
            if definition and definition.is_marked:
                continue
            if definition:
                if mention.how == "type" and not definition.is_class:  # an alias: to the classes that it names
                    todo += (each._replace(how="type") for each in definition.uses)
                else:
                    reached[f"{source.name}:{mention.name}"] = definition
                    todo += definition.uses
                if definition.is_config and mention.how == "run":
                    todo.append(Mention(source.name, mention.name + FIELDS))
            todo += source.elsewhere(mention)
        # Whoever reads docstrings or source reads those of others, too.
        verbatim = any(each.reads_source for each in reached.values())
        return {name: self.digest(each, verbatim) for name, each in sorted(reached.items())}

    def digest(self, definition: Definition, verbatim: bool) -> str:
        """Of the text and of what its names mean: another module may have an `encode`, too, and be imported instead."""
        text = definition.verbatim if verbatim else definition.digest
        meant = [f"{name} {each.digest}" for use in definition.uses for name, each in self.meant(use, ())]
        return text[:HALF] + sha256_text("\n".join(meant))[:HALF]

    def meant(self, mention: Mention, seen: tuple[Mention, ...]) -> Iterator[tuple[str, Definition]]:
        """The definition that a mention means, through imports on the way."""
        source = None if mention in seen else self.source(mention.module)
        if source is None:
            return
        if definition := source.definitions.get(mention.name):
            if not definition.is_marked:
                yield mention.name, definition
        else:
            for symbol in source.imports.get(mention.name, ()):
                yield from self.meant(Mention(*symbol), (*seen, mention))


def file_of(module: str) -> str:
    """The file of a module as a person would name it; a resource is its own."""
    path = path_of(module, ROOT)
    if path:
        return path.relative_to(ROOT).as_posix()
    return module if "/" in module else f"{module.replace('.', '/')}.py"
