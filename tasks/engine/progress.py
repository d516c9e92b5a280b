"""How a person sees long work: a bar on a terminal, else a line every minute; and the log and page of the Prefect run.

The engine knows no Prefect: `flows.orchestration` sets a `Watcher`, which is told everything that is shown here.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, Self, TypeVar

NOT_IN_KEY = "people are shown how work goes on"

LINE_EVERY = 60.0  # seconds between lines of one piece of work in a log
PAGE_EVERY = 5.0  # seconds between updates of the page of a training: each is two calls of Prefect's API
PAGE_RETRY = 60.0  # seconds until a server that did not answer is asked again
COST = {"tokens_per_second": ("tokens/s", "{:,.0f}"), "mfu": ("MFU", "{:.0%}")}  # in the bar
RECENT = 200  # updates that the pace is computed from: a few minutes of a training, which sends at most one a second

Item = TypeVar("Item")


class Watcher(Protocol):
    """Shows progress somewhere else than in the terminal."""

    def log(self, text: str) -> bool:
        """Log a line; returns whether that puts it on standard error as well."""

    def training(self, percent: float, status: str, lines: list[dict[str, Any]]) -> bool:
        """Show the status of a training and its metrics so far; returns False if nobody took it."""


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell the watcher of all progress in here, on this thread."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def say(text: str) -> None:
    """Print one line for a person, to standard error and to the watcher."""
    if not _log(text):
        print(f"  {text}", file=sys.stderr, flush=True)


def _log(text: str) -> bool:
    """Whether the watcher has put the line on standard error."""
    watcher = _watcher.get()
    return bool(watcher and watcher.log(text))


class _Display:
    """A bar on a terminal. Without one, and in the watcher's log, a line every `LINE_EVERY` seconds."""

    def __init__(self, name: str, *, unit: str, total: int | None = None, done: int = 0) -> None:
        from tqdm.auto import tqdm

        self.name = name
        self.bar = tqdm(
            desc=name, unit=unit, total=total, initial=done, file=sys.stderr, disable=None, dynamic_ncols=True
        )
        self.pace = deque([(time.monotonic(), done)], maxlen=RECENT)  # (seconds, how much was done)
        self._next_line = time.monotonic() + LINE_EVERY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def say(self, text: str) -> None:
        if not _log(text):
            self.bar.write(f"  {text}", file=sys.stderr)

    def _line(self, status: Callable[[], str]) -> None:
        """Write the status as a line, if the last one is old enough."""
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_EVERY
        text = f"{self.name}: {status()}"
        if not _log(text) and self.bar.disable:
            print(f"  {text}", file=sys.stderr, flush=True)


class Progress(_Display):
    """Counts rows, or other units of work, as they are done: `validate: 1,200 of 9,000 rows · 85 rows/s · …`."""

    def __init__(self, name: str, *, unit: str = "row", total: int | None = None, done: int = 0) -> None:
        super().__init__(name, unit=unit, total=total, done=done)
        self.unit, self.total, self.done = unit, total, done

    def update(self, count: int = 1) -> None:
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if now - self.pace[-1][0] >= 1:
            self.pace.append((now, self.done))
        self._line(self.status)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted when the next is asked for."""
        with self:
            for item in items:
                yield item
                self.update()

    def status(self) -> str:
        (begun, first), now = self.pace[0], time.monotonic()
        rate = (self.done - first) / max(now - begun, 1e-9)
        count = f"{self.done:,} of {self.total:,}" if self.total else f"{self.done:,}"
        parts = [f"{count} {self.unit}s", f"{rate:,.0f} {self.unit}s/s" if rate >= 10 else f"{rate:.2g} {self.unit}s/s"]
        if self.total and rate and self.total > self.done:
            parts.append(_left((self.total - self.done) / rate))
        return " · ".join(parts)


class TrainingProgress(_Display):
    """Shows the metrics that the training process writes, and keeps the watcher's page of the training up to date."""

    def __init__(self) -> None:
        super().__init__("train", unit="step")
        self.lines: list[dict[str, Any]] = []
        self._in_bar: dict[str, str] = {}
        self._next_page = 0.0

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        if self.lines:
            self._update_page()

    def restart(self) -> None:
        """Forget all lines: those that still count come again."""
        self.lines.clear()
        self.pace.clear()

    def begin(self) -> None:
        """From here on lines come as the steps are done: the pace is computed from these."""
        self.pace.clear()

    def update(self, line: dict[str, Any]) -> None:
        """Take one line of metrics: {"step", "max_steps", "loss" | "eval_loss" | "message", …}."""
        if "message" in line:
            self.say(line["message"])
            return
        self.lines.append(line)
        self.pace.append((time.monotonic(), line["step"]))
        self.bar.total = line["max_steps"] or None
        self.bar.n = line["step"]
        known = {k: line[k] for k in ("loss", "eval_loss", "learning_rate") if line.get(k) is not None}  # NaN is null
        self._in_bar |= {k.replace("eval_loss", "held-out"): f"{v:.4g}" for k, v in known.items()}
        self._in_bar |= {title: form.format(line[k]) for k, (title, form) in COST.items() if line.get(k) is not None}
        self.bar.set_postfix(self._in_bar)
        self._line(self.status)
        if time.monotonic() > self._next_page:
            self._update_page()

    def status(self) -> str:
        return training_status(self.lines, seconds_left(self.pace, self.lines[-1]["max_steps"]))

    def _update_page(self) -> None:
        if watcher := _watcher.get():
            last = self.lines[-1]
            taken = watcher.training(100 * last["step"] / max(1, last["max_steps"]), self.status(), self.lines)
            self._next_page = time.monotonic() + (PAGE_EVERY if taken else PAGE_RETRY)


def training_status(lines: list[dict[str, Any]], left: float | None) -> str:
    """`step 120 of 280 · loss 0.42 · held-out 0.51 · 1,234 tokens/s · about 3 min left`, as far as it is known."""
    last = lines[-1]
    parts = [f"step {last['step']} of {last['max_steps']}" if last["max_steps"] else "before the first step"]
    for name, title in (("loss", "loss"), ("eval_loss", "held-out")):
        found = next((line[name] for line in reversed(lines) if line.get(name) is not None), None)
        parts += [f"{title} {found:.2f}"] if found is not None else []
    pace = next((line["tokens_per_second"] for line in reversed(lines) if "tokens_per_second" in line), None)
    parts += [f"{pace:,} tokens/s"] if pace is not None else []
    return " · ".join(parts + ([_left(left)] if left is not None else []))


def _left(seconds: float) -> str:
    return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


def seconds_left(pace: Sequence[tuple[float, int]], steps: int) -> float | None:
    """By the pace of the last steps, evaluations and checkpoints among them; None while there is none, and at the end.

    `pace` holds (time in seconds, step).
    """
    if len(pace) < 2 or pace[-1][1] <= pace[0][1] or pace[-1][1] >= steps:
        return None
    (begun, first), (now, last) = pace[0], pace[-1]
    return (steps - last) * (now - begun) / (last - first)
