"""The base model's vocabulary as a part of a build: read with transformers once, and from then on without."""

from pathlib import Path
from typing import Any

import orjson

from tasks.model import load_tokenizer
from tasks.prompts import Vocabulary
from tasks.versioning.digests import digests
from tasks.versioning.inputs import files_below
from tasks.versioning.parts import Parts, Piece
from tasks.versioning.spread import here

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def vocabulary(base: Path, parts: Parts) -> Vocabulary:
    """The vocabulary of the base model in a folder.

    Importing transformers takes 2.5 s and 300 MB, which is most of what a small refresh costs; a build that follows
    another one of the same tokenizer is spared them.
    """
    from tokenizers import Tokenizer

    files = {name: digests().of(path) for name, path in files_below(base).items() if not name.endswith(WEIGHTS)}
    (part,) = parts.map(read_vocabulary, [Piece([files], lambda: (base,))], spread=here)
    parts.lay(part, tokenizer="vocabulary/tokenizer.json", rest="vocabulary/rest.json")
    rest = orjson.loads(part.files["rest"].read_bytes())
    return Vocabulary(Tokenizer.from_file(str(part.files["tokenizer"])), **rest)


def read_vocabulary(base: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The tokenizer as the `tokenizers` library writes it, and the rest of a `Vocabulary`."""
    read = Vocabulary.of(load_tokenizer(base))
    rest = {"controls": read.controls, "size": read.size, "end": read.end}
    return {"tokenizer": read.backend.to_str().encode(), "rest": orjson.dumps(rest)}, {}
