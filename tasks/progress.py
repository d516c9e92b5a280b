"""How a person sees long work go: a bar in the terminal, and artifacts on the run's page in Prefect."""

import sys
import time
from types import TracebackType
from typing import Any, Self

PREFECT_EVERY = 5.0  # seconds between updates: each is two calls of the API


def say(text: str) -> None:
    """Tell a person one line: in the terminal, and in the log of the Prefect run that we are in."""
    print(f"  {text}", file=sys.stderr)
    if _task_run():
        from prefect import get_run_logger

        get_run_logger().info(text)


class TrainingProgress:
    """Shows the training child's metrics: a bar with loss and learning rate; in Prefect progress and loss curve."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self.lines: list[dict[str, Any]] = []
        self.bar = tqdm(desc="train", unit="step", file=sys.stderr, disable=None, dynamic_ncols=True)
        self.run = _task_run()
        self.shown: dict[str, str] = {}
        self.sent = 0.0
        self.artifacts: tuple[Any, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        if self.run and self.lines:
            self._send()

    def update(self, line: dict[str, Any]) -> None:
        """Take one line of metrics: {"step", "max_steps", "loss" | "eval_loss" | "said", …}."""
        if "said" in line:
            self._say(line["said"])
            return
        self.lines.append(line)
        self.bar.total = line["max_steps"] or None
        self.bar.n = line["step"]
        shown = {k: line[k] for k in ("loss", "eval_loss", "learning_rate") if line.get(k) is not None}  # NaN is null
        self.shown |= {k.replace("eval_loss", "held-out"): f"{v:.4g}" for k, v in shown.items()}
        self.bar.set_postfix(self.shown)
        if self.run and time.monotonic() - self.sent > PREFECT_EVERY:
            self._send()

    def _say(self, text: str) -> None:
        self.bar.write(f"  {text}", file=sys.stderr)
        if self.run:
            from prefect import get_run_logger

            get_run_logger().info(text)

    def _send(self) -> None:
        """Bring the run's two artifacts up to date; each is made once, so that the run's page stays short."""
        from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.actions import ArtifactUpdate

        self.sent = time.monotonic()
        last, curve = self.lines[-1], loss_curve(self.lines)
        percent = 100 * last["step"] / max(1, last["max_steps"])
        if not self.artifacts:
            self.artifacts = (
                create_progress_artifact(percent, key="train-progress", description="Training steps"),
                create_markdown_artifact(curve, key="train-loss", description="Loss by step"),
            )
            return
        progress, loss = self.artifacts
        update_progress_artifact(progress, percent)
        with get_client(sync_client=True) as client:
            client.update_artifact(loss, ArtifactUpdate(data=curve))


def _task_run() -> Any:
    """The Prefect task run that we are in, if any; Prefect is not imported for the question."""
    if "prefect" not in sys.modules:
        return None
    from prefect.context import TaskRunContext

    return TaskRunContext.get()


def loss_curve(lines: list[dict[str, Any]], points: int = 40) -> str:
    """A Markdown chart (mermaid) of training and held-out loss, thinned to about `points` points a line."""
    charts = []
    for name, title in (("loss", "training loss"), ("eval_loss", "held-out loss")):
        curve = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        curve = curve[:: max(1, len(curve) // points)]
        if len(curve) < 2:
            continue
        steps = ", ".join(f'"{step}"' for step, _ in curve)
        losses = ", ".join(f"{loss:.4f}" for _, loss in curve)
        charts.append(
            f'```mermaid\nxychart-beta\n  title "{title}"\n  x-axis "step" [{steps}]\n'
            f'  y-axis "loss"\n  line [{losses}]\n```'
        )
    return "\n\n".join(charts)
