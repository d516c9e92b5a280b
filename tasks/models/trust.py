"""Code that comes with a model, and whether it may run: only if a person has named that very code by its digest.

A name such as org/model would trust whatever its owner puts there tomorrow, and a folder whatever is put into it.
"""

import json
from pathlib import Path

from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below, sha256_file, sha256_json

CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json")  # each may name classes in `auto_map`


def trusted(model: Path, digest: str | None) -> bool:
    """Whether the code of the model in this folder may run; for transformers' `trust_remote_code`.

    False if no code was named, or if the model needs none. Raises UserError if the code is not the one that was named,
    or is not in the folder but in another repository.
    """
    classes = _classes(model)
    if digest is None or not classes:
        return False
    if away := [name for name in classes if "--" in name]:
        raise UserError(
            f"{model} names code of another repository, {away[0]}",
            "copy that code into the model's folder, take the part up to -- out of auto_map, and read and name it anew",
        )
    if digest != code_digest(model):
        raise UserError(
            f"trust_remote_code names other code than what comes with {model}",
            f"read {_few(model)}, then {naming(model)}",
        )
    return True


def naming(model: Path) -> str:
    """What to do to have this code run."""
    return f"set trust_remote_code to {code_digest(model)}"


def code_of(model: Path) -> list[str]:
    """The model's own Python files, as relative names."""
    return [name for name in files_below(model) if name.endswith(".py")]


def code_digest(model: Path) -> str:
    """SHA-256 of the names and bytes of the model's own Python files; the same wherever the folder lies."""
    return sha256_json({name: sha256_file(model / name) for name in code_of(model)})


def _few(model: Path) -> str:
    return ", ".join(code_of(model)) or "what is there: no Python file"


def _classes(model: Path) -> list[str]:
    """The classes that the model's configs name in code of its own."""
    found = []
    for name in CONFIGS:
        try:
            named = json.loads((model / name).read_bytes()).get("auto_map", {})
        except (OSError, ValueError, AttributeError):  # loading it will tell
            continue
        values = named.values() if isinstance(named, dict) else [named]
        found += [each for value in values for each in (value if isinstance(value, list) else [value]) if each]
    return [str(each) for each in found]
