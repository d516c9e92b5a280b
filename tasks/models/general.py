"""How well a model still predicts text that has nothing to do with its task: whether a training made it forget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.models.model import inference, load_tokenizer, window_of

TEXT = "tasks/models/general.txt"  # from the project's root; written for this project
WINDOW = 512  # tokens that see each other


def general_loss(base: Path, loss: Callable[[list[int]], float]) -> float:
    """Mean cross-entropy of `TEXT` in nats per token, of which the first of each window is not counted; 6 digits.

    `loss` gives the sum for a window of token ids.
    """
    text = (Path(__file__).parents[2] / TEXT).read_text(encoding="utf-8")
    ids = load_tokenizer(base)(text, add_special_tokens=False, verbose=False)["input_ids"]
    width = min(WINDOW, window_of(base) - 1)  # an engine may want room for a token
    windows = [ids[start : start + width] for start in range(0, len(ids), width)]
    return round(sum(map(loss, windows)) / (len(ids) - len(windows)), 6)


def loss_of(model: Any, tokens: list[int]) -> float:
    """The sum of the cross-entropies of all tokens but the first, in nats."""
    import torch

    with inference(model):
        window = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=window).logits[0, :-1].float()
        return float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
