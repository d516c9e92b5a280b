"""What the training benches train on: the sample's rows, the same under contexts with a long tail, and SQuAD 2.0.

Both as a built dataset, for us, and as text, for the course's script: the same rows, token for token.
"""

import json
import math
import random
from pathlib import Path
from typing import Any, NamedTuple

from tasks.engine.code.source import ROOT
from tasks.prompts import PromptConfig
from tests.tasks.tiny import COURSE

SAMPLE = ROOT / "data/plant/train.jsonl"
BASE = ROOT / "data/tiny-base"
MEDIAN, SIGMA = 415, 0.42  # tokens of a context in CLAPNQ's dev set by the tiny base's tokenizer, about log-normal
SHORTEST = 60  # a sheet of the sample


class Data(NamedTuple):
    """Folders of `build`, and a JSONL of {"text"} with the rows of `train`."""

    train: Path
    heldout: Path
    texts: Path
    max_tokens: int
    base: Path = BASE


def sample(folder: Path, rows: int) -> Data:
    return _built(folder, SAMPLE.read_text(encoding="utf-8").splitlines()[:rows], max_tokens=256)


def long_tailed(folder: Path, rows: int) -> Data:
    """The sample's questions; other sheets follow their own until the context is as long as one of CLAPNQ's."""
    from tasks.models.model import load_tokenizer

    count = load_tokenizer(BASE)
    sheets = [json.loads(line) for line in SAMPLE.open(encoding="utf-8")]
    lengths = {row["document"]: len(count(" ".join(row["context"]))["input_ids"]) for row in sheets}
    by_document = {row["document"]: row["context"] for row in sheets}
    random_ = random.Random(0)
    made = []
    for row in sheets[:rows]:
        left = min(900, math.exp(random_.gauss(math.log(MEDIAN), SIGMA))) - lengths[row["document"]]
        context = list(row["context"])
        for other in random_.sample(sorted(by_document), len(by_document)):
            if other != row["document"] and SHORTEST < lengths[other] <= left:
                context += by_document[other]
                left -= lengths[other]
            if left < SHORTEST:
                break
        made.append(json.dumps({**row, "context": context}))
    return _built(folder, made, max_tokens=1024)


def squad(folder: Path, rows: int, base: Path, source: str) -> Data:
    """Questions about Wikipedia's paragraphs, some six about each, for a real instruct model."""
    from tests.bench._squad import make

    made = make(source, folder / "squad")["train"].read_text(encoding="utf-8").splitlines()[:rows]
    return _built(folder, made, max_tokens=2048, base=base, prompt=PromptConfig(), share_beginnings=True)


def _built(
    folder: Path, rows: list[str], *, max_tokens: int, base: Path = BASE, prompt: PromptConfig = COURSE, **settings: Any
) -> Data:
    import datasets

    from tasks.build import BuildConfig, build
    from tasks.models.model import load_tokenizer
    from tasks.validate import ValidateConfig, validate

    for name in ("valid", "built"):
        (folder / name).mkdir(parents=True)
    source, built = folder / "rows.jsonl", folder / "built"
    source.write_text("\n".join(rows) + "\n", encoding="utf-8")
    validate(ValidateConfig(refusal="Not stated in the sheet."), rows=[source], out=folder / "valid")
    # Rows to hold the loss against, and hardly any to answer; other sheets in a context are no leak here.
    shares = {"heldout_share": 0.1, "evaluation_share": 0.02, "near_duplicate_drop": 1.0}
    config = BuildConfig(max_tokens=max_tokens, prompt=prompt, **shares, **settings)
    build(config, rows=folder / "valid/rows", base=base, out=built)
    tokenizer = load_tokenizer(base)
    texts = folder / "texts.jsonl"
    with texts.open("w", encoding="utf-8") as file:
        for row in datasets.load_from_disk(str(built / "train")):
            text = tokenizer.decode(row["input_ids"])
            assert tokenizer(text)["input_ids"] == row["input_ids"]
            file.write(json.dumps({"text": text}) + "\n")
    return Data(built / "train", built / "heldout", texts, max_tokens, base)
