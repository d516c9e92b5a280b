"""How well a model still predicts text that has nothing to do with its task: whether a training made it forget."""

from pathlib import Path
from typing import Any

from tasks.models.model import inference, load_tokenizer, window_of

TEXT = "tasks/models/general.txt"  # from the project's root; written for this project
WINDOW = 512  # tokens that see each other


def general_loss(model: Any, base: Path) -> float:
    """Mean cross-entropy of `TEXT` in nats per token, of which the first of each window is not counted; 6 digits."""
    import torch

    text = (Path(__file__).parents[2] / TEXT).read_text(encoding="utf-8")
    ids = load_tokenizer(base)(text, add_special_tokens=False, verbose=False)["input_ids"]
    width = min(WINDOW, window_of(base))
    total = 0.0
    with inference(model):
        for start in range(0, len(ids), width):
            window = torch.tensor([ids[start : start + width]], device=model.device)
            logits = model(input_ids=window).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
    return round(total / (len(ids) - -(-len(ids) // width)), 6)
