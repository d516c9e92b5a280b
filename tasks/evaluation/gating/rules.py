"""What a new adapter must show before it is promoted, metric by metric."""

import difflib
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tasks.engine import Config, Text
from tasks.evaluation.metrics import METRICS

PRIMARY = tuple(name for name, metric in METRICS.items() if metric.primary)
DECIDING = ("correct", "abstention_f1")  # right answers, and refusing where and only where it must
KEPT = ("correct", "hallucination", "abstention_f1", "over_refusal")  # what may not get worse: see `default_rules`
MARGIN = 0.05  # one answer in twenty
FLOOR = 0.1  # right answers of all answerable questions; what is wrong nearly everywhere is no gain over any base


class Rule(Config):
    """What one metric must show; which way is better, the table of metrics says."""

    metric: Text = Field(description="A metric of tasks/evaluation/metrics, such as token_f1.")
    against: Literal["base", "base_shots", "champion", "both", "best"] = Field(
        "both",
        description="The base model, the adapter in service, or both of them; base_shots: the base with the solved "
        "examples of answer.shots in its prompt; best: the last one in service that was shown to beat the best before "
        "it in this metric, so that small losses do not add up.",
    )
    must: Literal["better", "not_worse", "at_least"] = Field(
        description="better: a gain beyond chance. not_worse: the whole interval of the change within the margin. "
        "at_least: the whole interval of the new adapter's own figure on the good side of `level`."
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=1,
        description="For not_worse: the loss that is still tolerable, in the metric's own units, stated beforehand.",
    )

    level: float | None = Field(None, description="For at_least: the least figure, or the most of one that is down.")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in METRICS:
            near = difflib.get_close_matches(metric, METRICS, 1)
            raise ValueError(f"no such metric; {f'did you mean {near[0]!r}?' if near else 'there are ' + _judged()}")
        if METRICS[metric].direction == "none":
            raise ValueError(f"a diagnostic, of which no value is better; there are {_judged()}")
        return metric

    @model_validator(mode="after")
    def _margin_where_it_is_used(self) -> "Rule":
        if self.must == "not_worse" and self.margin is None:
            raise ValueError("not_worse needs a margin: how much worse would still be tolerable")
        if self.must == "better" and self.margin is not None:
            raise ValueError("a margin is for not_worse; better asks for any gain beyond chance")
        if (self.must == "at_least") != (self.level is not None):
            raise ValueError("at_least and a level belong together: the figure that the adapter itself must reach")
        if self.against == "best" and self.metric not in DECIDING:
            raise ValueError(f"the best so far is known of {' and '.join(DECIDING)} alone; take against: champion")
        if self.must == "at_least" and self.margin is not None:
            raise ValueError("a margin is for not_worse; at_least takes a level")
        return self

    def judges(self, against: str) -> bool:
        return self.against == against or (self.against == "both" and against in ("base", "champion"))


def _judged() -> str:
    return ", ".join(name for name, metric in METRICS.items() if metric.direction != "none")


def default_rules() -> tuple[Rule, ...]:
    """Better in right answers or in refusing; in neither of them, in hallucinations and in over-refusal worse by more
    than one answer in twenty, and in the former two not than the best so far either.

    Fluency and closeness to the context decide nothing by themselves: support by words falls where a right answer uses
    its own, beside a base that copies whole passages. What is made up counts as a hallucination.
    """
    better = (Rule(metric=name, must="better") for name in DECIDING)
    not_worse = (Rule(metric=name, must="not_worse", margin=MARGIN) for name in KEPT)
    floor = Rule(metric="correct", against="base", must="at_least", level=FLOOR)
    best = (Rule(metric=name, against="best", must="not_worse", margin=MARGIN) for name in DECIDING)
    return (*better, floor, *not_worse, *best)


def parity_rules(margin: float) -> tuple[Rule, ...]:
    """What ships must be as good as what was trained and compared, on every primary metric."""
    return tuple(Rule(metric=name, must="not_worse", margin=margin) for name in PRIMARY)
