"""Champion and previous as aliases of an MLflow registered model, for those who serve from there.

The promotion log is the source and the registry its mirror: one that cannot be reached loses nothing, and is brought up
to date the next time. MLflow's own environment says where it is (`MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI`).
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from flows.promotion.log import Version, read, read_state
from tasks.engine.errors import UserError, install, redacted
from tasks.engine.storage.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROLES = ("champion", "previous")
TAG = "reground.adapter"  # of a model version: export/<key>
WEIGHTS = "reground.weights"  # and its weights' SHA-256


class Mirrored(BaseModel):
    """What an update of the registry did: the version of each role, or why it failed."""

    model_config = ConfigDict(frozen=True)

    model: str
    versions: dict[str, str] = {}
    error: str | None = None


def update_registry(store: Store, model: str) -> Mirrored | None:
    """Bring the registry up to date if it is not; None if it was. A registry that cannot be reached is no failure."""
    roles = _served(store)
    mark, wanted = (
        f"{store.home}.mirrored/{model}",
        "\n".join(f"{name} {version.adapter}" for name, version in roles.items()),
    )
    if (store.objects.read(mark) or b"").decode() == wanted:
        return None
    try:
        done = mirror(store, model)
    except Exception as error:  # MLflow's stores raise whatever their databases and services do
        return Mirrored(model=model, error=redacted(str(error).partition("\n")[0]))
    store.objects.write(mark, wanted.encode())
    return done


def mirror(store: Store, model: str) -> Mirrored:
    """Register champion and previous, unless they are registered, and point the aliases at them."""
    client = _client()
    _model(client, model)  # before its versions are looked for
    numbers = {name: _version(client, store, model, version) for name, version in _served(store).items()}
    for name in ROLES:  # the champion first
        if name in numbers:
            client.set_registered_model_alias(model, name, numbers[name])
        elif name in client.get_registered_model(model).aliases:
            client.delete_registered_model_alias(model, name)
    return Mirrored(model=model, versions=numbers)


def _served(store: Store) -> dict[str, Version]:
    roles = read_state(store).roles()
    return {name: roles[name] for name in ROLES if name in roles}


def _client() -> "MlflowClient":
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UserError("promotion.mlflow needs the library mlflow", install("mlflow")) from None
    # MLflow's own default is 7, each after a longer wait: a run would stand still for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    return MlflowClient()


def _model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="LoRA adapters promoted by Reground")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(client: "MlflowClient", store: Store, model: str, version: Version) -> str:
    """The number of the adapter's model version, created if there is none."""
    known = client.search_model_versions(f"name = '{model}' and tag.`{TAG}` = '{version.adapter}'")
    if known:
        return str(known[0].version)
    adapter, entry = store.require(version.step, version.key), read(store).last(version, "promote")
    assert entry  # a champion was promoted
    tags = {TAG: version.adapter, WEIGHTS: version.weights, "reground.why": entry.why, "reground.by": entry.who}
    return register(model, adapter.folder / "adapter", tags, adapter.about, entry.why)


def register(model: str, folder: Path, tags: dict[str, str], about: str, why: str = "") -> str:
    """Log the folder's files, and make them a new version of the registered model; returns its number."""
    client = _client()
    _model(client, model)
    run: Any = client.create_run(_experiment(client, model), tags=tags, run_name=about)
    client.log_artifacts(run.info.run_id, str(folder), "adapter")
    client.set_terminated(run.info.run_id)
    made = client.create_model_version(
        model, f"{run.info.artifact_uri}/adapter", run.info.run_id, tags=tags, description=why or about
    )
    return str(made.version)


def _experiment(client: "MlflowClient", name: str) -> str:
    """The experiment of the model's name; MLflow keeps files below experiments."""
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else str(client.create_experiment(name))
