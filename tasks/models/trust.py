"""Code that comes with a model: it may run only if a person has named this very code by its digest.

A name such as org/model would trust whatever its owner puts there tomorrow, a folder whatever is put into it.
"""

import json
from pathlib import Path

from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below, sha256_file, sha256_json

CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json")  # each may name classes in `auto_map`


def trusted(model: Path, digest: str | None) -> bool:
    """Whether the code of the model in this folder may run; for transformers' `trust_remote_code`.

    False if no code was named, or if the model needs none. Raises UserError if other code was named, or if the code is
    in another repository.
    """
    classes = _classes(model)
    if digest is None or not classes:
        return False
    if elsewhere := [name for name in classes if "--" in name]:
        raise UserError(
            f"{model} names code of another repository, {elsewhere[0]}",
            "copy that code into the model's folder, take the part up to -- out of auto_map, then read it and name it",
        )
    if digest != code_digest(model):
        raise UserError(
            f"trust_remote_code names other code than what comes with {model}",
            f"read {', '.join(code_of(model)) or 'the folder, which holds no Python file'}, then {naming(model)}",
        )
    return True


def naming(model: Path) -> str:
    """The remedy that lets this code run."""
    return f"set trust_remote_code to {code_digest(model)}"


def code_of(model: Path) -> list[str]:
    """The model's own Python files, as relative names."""
    return [name for name in files_below(model) if name.endswith(".py")]


def code_digest(model: Path) -> str:
    """SHA-256 of the names and bytes of the model's own Python files; the same wherever the folder lies."""
    return sha256_json({name: sha256_file(model / name) for name in code_of(model)})


def _classes(model: Path) -> list[str]:
    """The classes that the model's configs name in its own code."""
    found = []
    for name in CONFIGS:
        try:
            named = json.loads((model / name).read_bytes()).get("auto_map", {})
        except (OSError, ValueError, AttributeError):  # loading it explains
            continue
        values = named.values() if isinstance(named, dict) else [named]
        found += [each for value in values for each in (value if isinstance(value, list) else [value]) if each]
    return [str(each) for each in found]
