"""Time whatever trainer runs in this process, its first steps left out: ``python -m tests.bench._gpu_clock MODULE …``.

Runs MODULE as ``python -m MODULE …`` does. All contestants train by transformers' Trainer, which begins with its
DEFAULT_CALLBACKS; this adds one, so that each is timed alike and none has to know of it. The clock starts with the step
after BENCH_WARM_UP others, and stops with the last one, before its checkpoint is written; the card is waited for then
and at no other time. What goes through the model is counted on the card.

Writes to the file BENCH_CLOCK: {"steps", "seconds", "tokens", "scored", "pairs"} of the timed steps, "all_tokens" of
all steps, "trained" weights, "attention", "peak_mib" of the process so far. It may run beside other libraries' versions
than ours, so it imports nothing else of this repository.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, trainer

IGNORED = -100


def install() -> None:
    callbacks: list[Any] = trainer.DEFAULT_CALLBACKS
    callbacks.append(Clock)


def counted(batch: dict[str, Any]) -> torch.Tensor:
    """int64 of a forward pass: tokens that are no padding, those that have a loss, and pairs that causal attention has.

    Packed rows begin at position 0 each. A pair is a token with one that it sees in its row, itself among them.
    """
    ids, mask, positions = batch["input_ids"], batch.get("attention_mask"), batch.get("position_ids")
    real = torch.ones_like(ids) if mask is None or mask.shape != ids.shape else (mask != 0).long()
    if positions is None or positions.shape != ids.shape:
        positions = real.cumsum(1) - 1
    labels = batch.get("labels")
    scored = ids[:, 1:] * 0 if labels is None else labels[:, 1:] != IGNORED
    return torch.stack([real.sum(), scored.sum(), ((positions + 1) * real).sum()])


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.warm_up = int(os.environ.get("BENCH_WARM_UP", "2"))
        self.sums: Any = 0  # of all passes so far
        self.before: Any = 0  # of those before the clock started
        self.start = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.warm_up:
            _wait()
            self.before, self.start = self.sums, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step < state.max_steps:
            return
        _wait()
        seconds = time.perf_counter() - self.start
        if not self.start:
            raise SystemExit(
                f"all {state.max_steps} steps were for warming up; raise BENCH_ROWS or lower BENCH_WARM_UP"
            )
        tokens, scored, pairs = (self.sums - self.before).tolist()
        result = {
            "steps": state.global_step - self.warm_up,
            "seconds": seconds,
            "tokens": tokens,
            "scored": scored,
            "pairs": pairs,
            "all_tokens": int(self.sums[0]),
            "trained": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            "attention": model.config._attn_implementation,
            "peak_mib": round(_peak()),
        }
        Path(os.environ["BENCH_CLOCK"]).write_text(json.dumps(result))

    def _count(self, module: Any, _given: Any, batch: dict[str, Any]) -> None:
        if module.training:
            self.sums = self.sums + counted(batch)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak() -> float:
    """MiB that the allocator has handed out at once; on a CPU, of resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    from tests.bench import _gpu_clock

    _gpu_clock.install()  # of the module by its name, not of the one that is run
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
