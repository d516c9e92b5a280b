"""The trainer with a meter beside it."""

from typing import Any

import torch

from tasks.training.faster.answers import AnswerTrainer
from tasks.training.telemetry import Meter, flops_of, peak_mib


class MeteredTrainer(AnswerTrainer):
    """Puts what training costs among the logs, once, so that trackers, the metrics and the bar all have it."""

    def __init__(self, *, rate: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.meter = Meter(flops_of(self.model), rate)

    def training_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        self.meter.take(inputs)
        return super().training_step(model, inputs, *arguments, **options)

    def _maybe_log_save_evaluate(self, *arguments: Any, **options: Any) -> None:
        control = self.control
        if not (control.should_log or control.should_evaluate or control.should_save):
            return super()._maybe_log_save_evaluate(*arguments, **options)  # without waiting for the device
        with self.meter.paused():
            super()._maybe_log_save_evaluate(*arguments, **options)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # of steps, not of an evaluation or the end
            logs |= self.meter.since_last(self._summed)
            logs["peak_mib"] = round(peak_mib())
        super().log(logs, start_time)

    def cost(self) -> dict[str, float]:
        """Of all the steps that this process did; every process must ask."""
        return self.meter.of_all(self._summed)

    def _summed(self, tensor: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.accelerator.reduce(tensor, "sum")
        return summed
