"""The config that this process's runs are for, and what completes a request that gives only a part of it.

A form, a schedule or `run_deployment` may give parameters in part. The rest is what REGROUND_CONFIG names, which
`reground up CONFIG` sets for its workers; without it, the sample.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from flows import settings
from flows.config import TINY, Retrain, load
from flows.settings import Address, Project, StoreConfig
from tasks.engine import RUNTIME

CONFIG = load(settings.config_file() or TINY)  # what the run form begins with
FIRST = (  # what people change first: at the top of the form by these names, which a request may use as well
    *("data.train", "data.evaluation", "base.model", "prompt.template"),
    *("train.lora.r", "train.learning_rate", "train.epochs", "train.batch_size", "train.seed", "promotion.mode"),
)


class Request(StoreConfig):
    """What a flow beside `retrain` is asked: by default about the store of the deployment's config."""

    store: Annotated[Address, RUNTIME] = Field(CONFIG.store, description=StoreConfig.model_fields["store"].description)
    cache: Annotated[str | None, RUNTIME] = Field(
        CONFIG.cache, description=StoreConfig.model_fields["cache"].description
    )
    project: Annotated[Project, RUNTIME] = Field(
        CONFIG.project, description=StoreConfig.model_fields["project"].description
    )


def completed(given: Any, default: BaseModel) -> Any:
    """`given`, with what it leaves out as `default` has it; a mapping that is no section counts whole."""
    if not isinstance(given, Mapping):
        return given
    known = {field.alias or name: getattr(default, name) for name, field in type(default).model_fields.items()}
    sections = {name: value for name, value in known.items() if isinstance(value, BaseModel)}
    return known | {name: completed(v, sections[name]) if name in sections else v for name, v in given.items()}


def spread(given: Any) -> Any:
    """`given` with its dotted names, such as train.lora.r, in their sections.

    A form posts every field: of a setting that is given in both ways, the one that differs from the deployment's config
    counts. ValueError if both do, and from each other.
    """
    if not isinstance(given, Mapping):
        return given
    made: dict[str, Any] = {name: deepcopy(value) for name, value in given.items() if "." not in name}
    usual = CONFIG.model_dump(mode="json", by_alias=True)
    for name in given.keys() - made.keys():
        *parents, leaf = name.split(".")
        place, standard = made, usual
        for each in parents:
            place, standard = place.setdefault(each, {}), standard.get(each) or {}
        ours = standard.get(leaf)
        if place.get(leaf, ours) not in (ours, given[name]) and given[name] != ours:
            raise ValueError(f"{name} is {given[name]!r}, and {place[leaf]!r} in its section; give it once")
        if given[name] != ours:
            place[leaf] = given[name]
    return made


Config = Annotated[Retrain, BeforeValidator(lambda given: completed(spread(given), CONFIG))]


def differences(config: Retrain) -> list[str]:
    """What of a run's config is not as the deployment's, as `train.lora.r: 4, not 16`."""
    return list(
        _differences(config.model_dump(mode="json", by_alias=True), CONFIG.model_dump(mode="json", by_alias=True))
    )


def _differences(given: Any, usual: Any, name: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(usual, dict):
        for each in {**usual, **given}:
            yield from _differences(given.get(each), usual.get(each), f"{name}.{each}" if name else each)
    elif given != usual:
        yield f"{name}: {given}, not {usual}"
