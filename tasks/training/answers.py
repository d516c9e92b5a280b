"""TRL's trainer, which scores the tokens of answers alone."""

from typing import Any

from trl.trainer.sft_trainer import SFTTrainer

from tasks.dataset.folder import IGNORED


class AnswerTrainer(SFTTrainer):
    """Hands the head those hidden states only whose next token has a label: one in ten, with passages before answers.

    TRL does so itself where Triton is; elsewhere it scores every position, which is a quarter of a training of the tiny
    base. Batches are free of padding, one row of all their tokens.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._kept: Any = None  # positions, of the forward pass that is under way
        adapted: Any = self.model
        adapted.get_base_model().base_model.register_forward_hook(self._keep)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        following = inputs["labels"][:, 1:]
        kept = (following[0] != IGNORED).nonzero().flatten()
        if not kept.numel():  # of no answer; one position without a label makes a loss of zero
            kept = kept.new_zeros(1)
        self._kept = kept
        try:
            return super().compute_loss(model, {**inputs, "shift_labels": following[:, kept]}, *arguments, **options)
        finally:
            self._kept = None

    def _keep(self, _module: Any, _given: Any, output: Any) -> Any:
        if self._kept is not None:
            output.last_hidden_state = output.last_hidden_state[:, self._kept]
        return output
