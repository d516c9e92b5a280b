"""The config that this process's runs are for, and what completes a request that gives only a part of it.

A form, a schedule or `run_deployment` may give parameters in part. The rest is what REGROUND_CONFIG names, which
`reground up CONFIG` sets for its workers; without it, the sample.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from flows import settings
from flows.config import TINY, Retrain, load
from flows.settings import Address, Project, StoreConfig
from tasks.engine import RUNTIME

CONFIG = load(settings.config_file() or TINY)  # what the run form begins with


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


Config = Annotated[Retrain, BeforeValidator(lambda given: completed(given, CONFIG))]
