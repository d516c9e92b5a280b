"""TRL's trainer, which goes on from a checkpoint in the dtype that the adapter trains in."""

from typing import Any

from trl.trainer.sft_trainer import SFTTrainer


class ResumingTrainer(SFTTrainer):
    """PEFT loads an adapter of 16 bits as float32, and the optimizer is made after that."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        adapted: Any = self.model if model is None else model
        before = {name: each.dtype for name, each in adapted.named_parameters()}
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for name, each in adapted.named_parameters():
            each.data = each.data.to(before[name])
