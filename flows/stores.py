"""Which store a flow works on: what every flow's request begins with."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.engine import RUNTIME, Config
from tasks.engine.redact import CREDENTIALS
from tasks.engine.storage.store import Store


def without_secrets(url: str) -> str:
    """The address; ValueError if it holds a user or password. It goes on record, into the run's page and into logs."""
    if CREDENTIALS.search(url):
        raise ValueError("an address without user and password: the environment holds credentials")
    return url


Address = Annotated[str, AfterValidator(without_secrets)]


class StoreConfig(Config):
    """Where artifacts are."""

    store: Annotated[Address, RUNTIME] = Field(
        "artifacts", description="Where artifacts are kept: a folder, s3://bucket/prefix or gs://bucket/prefix."
    )
    cache: Annotated[str | None, RUNTIME] = Field(
        None, description="The folder for what is fetched from a bucket; without it ~/.cache/reground."
    )

    def open_store(self) -> Store:
        return Store(self.store, cache=Path(self.cache) if self.cache else None)
