"""Bare `tokenizers.encode_batch` of the same rows as text: ``python -m tests.bench._encode_batch ROWS``.

The texts are rendered before the clock starts. Prints {"seconds"} as JSON.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def rendered(rows: Path) -> Iterator[tuple[str, str]]:
    """Prompt and completion of each row, as `build` renders them."""
    from tasks.models.model import load_tokenizer
    from tasks.prompts import Asked, Prompt
    from tests.bench._data_steps import BASE, BUILD, VALIDATE

    prompt = Prompt.load(BUILD.prompt, load_tokenizer(BASE.path), VALIDATE.refusal)
    for line in rows.open("rb"):
        row = json.loads(line)
        asked = Asked(row["context"], row["query"])
        before, whole = prompt.render(asked), prompt.render(asked, row["answer"])
        yield before, whole[len(before) :]


def main(rows: Path) -> None:
    from tasks.models.model import load_tokenizer
    from tests.bench._data_steps import BASE

    texts = [before + after for before, after in rendered(rows)]
    tokenizer = load_tokenizer(BASE.path).backend_tokenizer
    start = time.monotonic()
    for first in range(0, len(texts), 1_000):  # all at once would take some 100 bytes a token
        tokenizer.encode_batch(texts[first : first + 1_000], add_special_tokens=False)
    print(json.dumps({"seconds": time.monotonic() - start}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
