"""The mean loss of held-out answers' tokens, row by row without packing: ``python -m tests.bench._answer_loss JOB``.

JOB is JSON: {"base", "heldout": a built dataset, "adapters": {name: folder or null for the base}}. Prints {name: loss}.
"""

import json
import sys
from pathlib import Path


def main(base: str, heldout: str, adapters: dict[str, str | None]) -> None:
    import datasets
    import torch

    from tasks.models.model import ModelConfig, attach_adapter, inference, load_base

    rows = list(datasets.load_from_disk(heldout))
    losses = {}
    for name, adapter in adapters.items():
        model = load_base(Path(base), ModelConfig())
        tuned = attach_adapter(model, Path(adapter)) if adapter else model
        total, count = 0.0, 0
        with inference(tuned):
            for row in rows:
                ids = torch.tensor([row["input_ids"]], device=model.device)
                answer = slice(row["prompt_tokens"], None)
                scores = tuned(input_ids=ids).logits[0, :-1][row["prompt_tokens"] - 1 :].float()
                total += torch.nn.functional.cross_entropy(scores, ids[0, answer], reduction="sum").item()
                count += len(scores)
        losses[name] = total / count
    print(json.dumps(losses))


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_bytes()))
