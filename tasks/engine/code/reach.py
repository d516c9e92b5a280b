"""What a step's code is: every first-party definition that it reaches, by its normalized text.

The source is read, never imported, so that a plan needs no torch. Reached is what a definition mentions: by name,
through imports at any depth, as a module of its own (`python -m`), in a base class, a decorator or a default. Of every
module that is imported on the way, what importing it does counts as well: a bare call, a decorator that registers.
Where names cannot tell (a star import, `globals()`, a module's `__getattr__`), the whole module counts. What cannot
change an output is marked, see `tasks.engine.code`.

Where an annotation names a class, the class is reached; the annotation itself does not count. A config class that is
named in annotations alone counts by its methods, because its values are in the key by themselves.
"""

from pathlib import Path

from tasks.engine.code.source import FIELDS, ROOT, Definition, Mention, path_of, read


def code_of(module: str, name: str, *, root: Path = ROOT) -> dict[str, str]:
    """Digest every first-party definition reached from `module`.`name`.

    Returns {"tasks.score:score": sha256 hex, "tasks.evaluation.metrics.abstention:detect_refusal": …}, sorted by name.
    """
    reached: dict[str, Definition] = {}
    imported: set[str] = set()
    todo = [Mention(module, name)]
    seen: set[Mention] = set()
    while todo:
        mention = todo.pop()
        source = None if mention in seen else read(mention.module, root)
        seen.add(mention)
        if source is None or source.is_marked:
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
    return {name: each.verbatim if verbatim else each.digest for name, each in sorted(reached.items())}


def file_of(module: str) -> str:
    """The file of a module as a person would name it; a resource is its own."""
    path = path_of(module, ROOT)
    if path:
        return path.relative_to(ROOT).as_posix()
    return module if "/" in module else f"{module.replace('.', '/')}.py"
