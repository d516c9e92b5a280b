"""The rows that the GPU bench trains on: the sample's, each as much longer as a sequence is, for all contestants alike.

The sample was written for sequences of 256 tokens, of which its rows fill 0.3 to 0.9. Other sheets follow a row's own
until it fills as much of the sequences asked for. Text, tokens and packed sequences are of the same rows.
"""

import json
import random
from pathlib import Path
from typing import NamedTuple

from tests.bench._train_data import BASE, SAMPLE, SHORTEST, _built

WRITTEN_FOR = 256  # tokens of a sequence, see deployments/configs/tiny.yaml
TEMPLATE = 15  # tokens of a row that are neither context, question nor answer


class Rows(NamedTuple):
    """One epoch. `train` is a folder of `build`; `texts` a JSONL of {"text"}; `tokens` one of what trainers take."""

    max_tokens: int
    train: Path
    texts: Path
    tokens: Path
    number: int  # of rows
    useful: int  # tokens in them
    packs: int  # sequences that build packs them into


def make(folder: Path, rows: int, max_tokens: int, *, scaled: bool = True) -> Rows:
    """Of `rows` rows of the sample, about one in eight is held out. Not `scaled`, they are as long as the sample's."""
    import datasets

    from tasks.data.dataset.folder import load

    sample = SAMPLE.read_text(encoding="utf-8").splitlines()
    longer = _longer(sample, rows, max_tokens / WRITTEN_FOR) if scaled else sample[:rows]
    built = _built(folder, longer, max_tokens=max_tokens)
    tokens = folder / "tokens.jsonl"
    number = useful = 0
    with tokens.open("w", encoding="utf-8") as file:
        for row in datasets.load_from_disk(str(built.train)):
            ids, prompt = row["input_ids"], row["prompt_tokens"]
            labelled = {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "labels": [-100] * prompt + ids[prompt:],
                "completion_mask": [0] * prompt + [1] * (len(ids) - prompt),
            }
            file.write(json.dumps(labelled) + "\n")
            number, useful = number + 1, useful + len(ids)
    return Rows(max_tokens, built.train, built.texts, tokens, number, useful, len(load(built.train)))


def _longer(sample: list[str], rows: int, times: float) -> list[str]:
    """The first rows, each context followed by other rows' until the row has nearly `times` as many tokens."""
    from tasks.models.model import load_tokenizer

    words, drawn = load_tokenizer(BASE), random.Random(0)

    def count(texts: list[str]) -> int:
        return len(words(" ".join(texts))["input_ids"])

    contexts = {row["document"]: row["context"] for row in map(json.loads, sample)}
    lengths = {name: count(context) for name, context in contexts.items()}
    made = []
    for row in map(json.loads, sample[:rows]):
        context, own = list(row["context"]), TEMPLATE + count([*row["context"], row["query"], row["answer"]])
        left = own * (times - 1)
        for other in drawn.sample(sorted(contexts), len(contexts)):
            if left < SHORTEST:
                break
            if other != row["document"] and lengths[other] <= left:
                context += contexts[other]
                left -= lengths[other]
        made.append(json.dumps({**row, "context": context}))
    return made
