"""What a sweep is asked: which settings to vary, over which values, and which engine chooses the trials."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from flows.config import Retrain
from tasks.engine import Config
from tasks.engine.errors import UserError

EXAMPLE = "e.g. train.lora.r=8,16,32; a value that is a list has brackets: train.lora.target_modules=[q_proj],[v_proj]"

Engine = Literal["grid", "optuna"]


class Range(Config):
    """All numbers from `low` to `high`, both included; whole ones where the setting is a whole number."""

    low: float = Field(description="The least number to try.")
    high: float = Field(description="The greatest number to try.")

    @model_validator(mode="after")
    def _is_one(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; the lesser comes first")
        return self

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


Values = Annotated[list[Any], Field(min_length=1)]


class Search(Config):
    """What to vary, what stays, and how to choose the trials."""

    config: Retrain = Field(description="What is the same in every trial.")
    over: dict[str, Values | Range] = Field(
        {"train.lora.r": [8, 16]},
        description="The values of each setting, or, for optuna, a range of numbers: {low: 1e-5, high: 1e-3}.",
    )
    engine: Engine = Field(
        "grid",
        description="grid: every combination of the values is a trial. optuna: so many trials as `trials` says, each "
        "chosen by the held-out losses of those before it.",
    )
    trials: PositiveInt | None = Field(None, description="How many trials optuna makes.")
    seed: NonNegativeInt = Field(0, description="Of optuna's choices: another seed begins with other trials.")

    @property
    def varied(self) -> list[str]:
        """The settings in which trials differ; one with a single value holds for all."""
        return [name for name, each in self.over.items() if isinstance(each, Range) or len(each) > 1]


def values(settings: Sequence[str]) -> dict[str, list[Any] | Range]:
    """`train.lora.r=8,16,32` as {"train.lora.r": [8, 16, 32]}, and `train.learning_rate=1e-5..1e-3` as a range.

    Values are YAML, between commas. Raises UserError for anything else, and for a setting that is given twice.
    """
    found: dict[str, list[Any] | Range] = {}
    for each in settings:
        name, equals, text = each.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"cannot read the setting {each!r}", f"write it as name=value,value: {EXAMPLE}")
        if name in found:
            raise UserError(f"{name} is given twice", f"give all of its values at once: {EXAMPLE}")
        found[name] = _range(name, text.strip()) or _list(name, text)
    return found


def _range(name: str, text: str) -> Range | None:
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        return None
    if " " in text:
        return None
    try:
        return Range(low=ends[0], high=ends[1])
    except ValidationError:
        raise UserError(
            f"{name}: {text} is no range", "two finite numbers, the lesser first: train.learning_rate=1e-5..1e-3"
        ) from None


def _list(name: str, text: str) -> list[Any]:
    try:
        found: list[Any] = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{name}: {text!r} is no list of values: {problem}", EXAMPLE) from None
    if not found:
        raise UserError(f"{name} has no value", f"give at least one, null for none: {EXAMPLE}")
    return found


def word(value: Any) -> str:
    """A value as YAML that is short: bare words as they are, the rest as JSON."""
    if isinstance(value, str) and yaml.safe_load(value or "null") == value:
        return value
    return orjson.dumps(value, default=str).decode()
