"""What a sweep found: a row for each trial, which is the best, how much that may be trusted, and a picture."""

from base64 import b64encode
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from tasks.reporting.figures import estimate, loss, share
from tasks.reporting.rendering import render


@dataclass(frozen=True)
class Row:
    """One trial. `error` if it failed; else what it is worth.

    `heldout_loss` is per answer token, `measured_on` the digests of the held-out rows and of the base: losses of
    others cannot be compared. `metrics` are the primary ones of the tuned model, with 95 % intervals; `decision` is the
    gate's, `seconds` those of the steps that this sweep ran for it.
    """

    number: int
    settings: dict[str, Any]
    error: str | None = None
    heldout_loss: float | None = None
    measured_on: list[str] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    decision: str | None = None
    why: str = ""
    seconds: float = 0.0
    ran: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    adapter: str | None = None

    @property
    def text(self) -> str:
        """`train.lora.r=8, train.learning_rate=1e-4`."""
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


@dataclass(frozen=True)
class Outcome:
    rows: list[Row]

    @property
    def failed(self) -> bool:
        return all(row.error for row in self.rows)

    @property
    def measured(self) -> list[Row]:
        return [row for row in self.rows if row.heldout_loss is not None]

    @cached_property
    def best(self) -> Row | None:
        """The least held-out loss; None where there is none to compare, or those there are were measured on others."""
        measured = self.measured
        comparable = len({tuple(row.measured_on) for row in measured}) == 1
        return min(measured, key=lambda row: row.heldout_loss or 0.0) if comparable else None

    @property
    def headline(self) -> str:
        failed = sum(bool(row.error) for row in self.rows)
        count = f"{len(self.rows)} trials" + (f", {failed} failed" if failed else "")
        if self.best:
            return f"{count}; the least held-out loss, {loss(self.best.heldout_loss)}, has {self.best.text}"
        return f"{count}; no best"

    @property
    def notes(self) -> list[str]:
        """How the best was chosen, and what a choice among many is worth."""
        count = len(self.measured)
        if self.best:
            how = (
                f"Best is the least held-out loss of {count}. Held-out documents are neither trained on nor among the "
                "evaluation rows, so that choosing by them leaves the gate's test of the best as it is. The least of "
                "many is in part luck (the winner's curse): expect its loss to be somewhat higher on other documents."
            )
        elif count:
            how = "No best: the trials' held-out rows or base models differ, so that their losses cannot be compared."
        else:
            how = "No best: there is no held-out loss; see build.heldout_share, and the rows that failed."
        return [
            how,
            "All trials answered the same questions, and an interval holds for one trial, not for the best of several: "
            "whoever picks by these metrics picks luck as well, and needs fresh evaluation rows to tell what was won.",
            "Nothing was promoted. `reground retrain` with the settings of a trial finds every step cached, and "
            "promotes by the gate's own rules.",
        ]

    def plain(self) -> dict[str, Any]:
        best = self.best.number if self.best else None
        return {"best": best, "trials": [asdict(row) for row in self.rows], "notes": self.notes}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Outcome":
        return cls([Row(**row) for row in plain["trials"]])


def head(outcome: Outcome) -> list[str]:
    metrics = next((row.metrics for row in outcome.rows if row.metrics), [])
    return ["held-out loss", *(each["label"] for each in metrics), "gate", "seconds", "steps run"]


def cells(row: Row) -> list[str]:
    """The figures of a row below `head`, each metric with its interval."""
    metrics = [share(each["value"]) if each["low"] is None else estimate(each) for each in row.metrics]
    return [loss(row.heldout_loss), *metrics, row.decision or "", f"{row.seconds:.1f}", f"{len(row.ran)}"]


def markdown(outcome: Outcome) -> str:
    return render("ui/sweep.md.jinja", outcome=outcome, head=head(outcome), cells=cells, image=image(outcome))


def image(outcome: Outcome) -> str:
    """`![…](data:image/svg+xml;…)`: the held-out loss of each trial; empty where none can be compared."""
    if not outcome.best:
        return ""
    losses = [row.heldout_loss or 0.0 for row in outcome.measured]
    low, high = min(losses), max(losses)
    room = (high - low) * 0.1 or 0.1 * high or 1.0  # on an axis from zero all dots would lie on one line
    svg = render("ui/sweep.svg.jinja", rows=outcome.rows, best=outcome.best, low=low - room, high=high + room)
    return f"![held-out loss by trial](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
