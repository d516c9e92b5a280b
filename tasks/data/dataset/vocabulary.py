"""The base model's vocabulary as a part of a build: read with transformers once, and from then on without."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tasks.engine.digests import digests
from tasks.engine.errors import UserError
from tasks.engine.inputs import files_below
from tasks.engine.parts import Parts, Piece
from tasks.models.model import load_tokenizer
from tasks.prompts import Vocabulary

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def vocabulary(base: Path, parts: Parts) -> Callable[[], Vocabulary]:
    """Begin to read the vocabulary of the base model in a folder; what is returned waits for it."""
    files = {name: digests().of(path) for name, path in files_below(base).items() if not name.endswith(WEIGHTS)}
    begun = parts.begin(read_vocabulary, Piece([files], lambda: (base,)))

    def vocabulary_read() -> Vocabulary:
        from tokenizers import Tokenizer

        part = begun()
        parts.link_into(part, tokenizer="vocabulary/tokenizer.json", rest="vocabulary/rest.json")
        rest = orjson.loads(part.files["rest"].read_bytes())
        return Vocabulary(**rest | {"backend": Tokenizer.from_file(str(part.files["tokenizer"]))})

    return vocabulary_read


def read_vocabulary(base: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The tokenizer as the `tokenizers` library writes it, and the rest of a `Vocabulary`.

    In a process of its own, because transformers reads tokenizers without torch if there is none: in .8 s and not 3.4,
    with 300 MB less.
    """
    if "transformers" in sys.modules:
        found = _read(base)
    else:
        command = [sys.executable, "-m", "tasks.data.dataset.vocabulary", str(base)]
        child = subprocess.run(command, stdout=subprocess.PIPE)
        if not child.stdout:
            raise RuntimeError(f"reading the tokenizer in {base} ended with exit code {child.returncode}")
        found = orjson.loads(child.stdout)
    if "error" in found:
        raise UserError(**found["error"])
    return {"tokenizer": found["tokenizer"].encode(), "rest": orjson.dumps(found["rest"])}, {}


def _read(base: Path) -> dict[str, Any]:
    try:
        known = Vocabulary.of(load_tokenizer(base), base)
    except UserError as error:
        return {"error": {"what": error.what, "remedy": error.remedy}}
    return {"tokenizer": known.backend.to_str(), "rest": known.plain}


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # transformers would warn that there is no torch
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed
    sys.stdout.buffer.write(orjson.dumps(_read(Path(sys.argv[1]))))
