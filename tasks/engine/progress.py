"""How a person sees long work go: a bar in the terminal, and artifacts on the run's page in Prefect."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

PREFECT_EVERY = 5.0  # seconds between updates: each is two calls of the API
PREFECT_AGAIN = 60.0  # seconds until a server that did not answer is asked again
COST = {"tokens_per_second": ("tokens/s", "{:,.0f}"), "mfu": ("MFU", "{:.0%}")}  # in the bar
RECENT = 200  # lines that tell the pace: a few minutes, for at most one comes a second


def say(text: str) -> None:
    """Tell a person one line: in the terminal, and in the log of the Prefect run that we are in."""
    print(f"  {text}", file=sys.stderr)
    _log(text)


class TrainingProgress:
    """Shows the training child's metrics: a bar with loss and learning rate; in Prefect progress and loss curve."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self.lines: list[dict[str, Any]] = []
        self.bar = tqdm(desc="train", unit="step", file=sys.stderr, disable=None, dynamic_ncols=True)
        self.shown: dict[str, str] = {}
        self.pace: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self.page: Any = None
        self.next = 0.0  # when the page may be brought up to date again
        if _in_prefect():
            from flows.orchestration.ui_artifacts import TrainingPage

            self.page = TrainingPage()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        if self.page and self.lines:
            self._send()

    def restart(self) -> None:
        """Forget what was told: the lines that still count come again."""
        self.lines.clear()
        self.pace.clear()

    def begin(self) -> None:
        """From here on lines come as the steps are done: these tell the pace."""
        self.pace.clear()

    def update(self, line: dict[str, Any]) -> None:
        """Take one line of metrics: {"step", "max_steps", "loss" | "eval_loss" | "said", …}."""
        if "said" in line:
            self.say(line["said"])
            return
        self.lines.append(line)
        self.pace.append((time.monotonic(), line["step"]))
        self.bar.total = line["max_steps"] or None
        self.bar.n = line["step"]
        shown = {k: line[k] for k in ("loss", "eval_loss", "learning_rate") if line.get(k) is not None}  # NaN is null
        self.shown |= {k.replace("eval_loss", "held-out"): f"{v:.4g}" for k, v in shown.items()}
        self.shown |= {title: form.format(line[k]) for k, (title, form) in COST.items() if line.get(k) is not None}
        self.bar.set_postfix(self.shown)
        if self.page and time.monotonic() > self.next:
            self._send()

    def say(self, text: str) -> None:
        self.bar.write(f"  {text}", file=sys.stderr)
        _log(text)

    def _send(self) -> None:
        last = self.lines[-1]
        told = standing(self.lines, seconds_left(self.pace, last["max_steps"]))
        taken = self.page.show(100 * last["step"] / max(1, last["max_steps"]), told, self.lines)
        self.next = time.monotonic() + (PREFECT_EVERY if taken else PREFECT_AGAIN)


def standing(lines: list[dict[str, Any]], left: float | None) -> str:
    """`step 120 of 280 · loss 0.42 · held-out 0.51 · 1,234 tokens/s · about 3 min left`, as far as it can be told."""
    last = lines[-1]
    parts = [f"step {last['step']} of {last['max_steps']}"]
    for name, title in (("loss", "loss"), ("eval_loss", "held-out")):
        found = next((line[name] for line in reversed(lines) if line.get(name) is not None), None)
        parts += [f"{title} {found:.2f}"] if found is not None else []
    pace = next((line["tokens_per_second"] for line in reversed(lines) if "tokens_per_second" in line), None)
    parts += [f"{pace:,} tokens/s"] if pace is not None else []
    if left is not None:
        parts.append(f"about {left:.0f} s left" if left < 100 else f"about {left / 60:.0f} min left")
    return " · ".join(parts)


def seconds_left(pace: Sequence[tuple[float, int]], steps: int) -> float | None:
    """By the pace of the last steps, evaluations and checkpoints among them; None while there is none, and at the end.

    `pace` holds (time in seconds, step).
    """
    if len(pace) < 2 or pace[-1][1] <= pace[0][1] or pace[-1][1] >= steps:
        return None
    (begun, first), (now, last) = pace[0], pace[-1]
    return (steps - last) * (now - begun) / (last - first)


def _log(text: str) -> None:
    """Into the log of the Prefect run that we are in, if we are in one."""
    if _in_prefect():
        from prefect import get_run_logger

        get_run_logger().info(text)


def _in_prefect() -> bool:
    """Whether this is a run of a Prefect flow or task; Prefect is not imported for the question."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return bool(TaskRunContext.get() or FlowRunContext.get())
