"""Champion and previous as aliases of an MLflow registered model, for those who serve from there.

The promotion log is the truth and this its mirror: a registry that cannot be reached loses nothing, and is brought up
to date the next time. Where it is, MLflow's own environment says (`MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI`).
"""

import os
from typing import TYPE_CHECKING, Any

from flows.promotion.promotion_log import Version
from tasks.engine.errors import UserError
from tasks.engine.redact import redacted
from tasks.engine.storage.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROLES = ("champion", "previous")
TAG = "reground.adapter"  # of a model version: export/<key>
WEIGHTS = "reground.weights"  # and its weights' SHA-256


def mirrored(store: Store, model: str) -> str:
    """Bring the registry up to date, and tell in words how that went; empty if it was."""
    state = store.promotions.state
    mark, wanted = f".mirrored/{model}", "\n".join(f"{n} {v.adapter}" for n, v in state.roles().items() if n in ROLES)
    if (store.objects.read(mark) or b"").decode() == wanted:
        return ""
    try:
        told = mirror(store, model)
    except Exception as error:  # MLflow's stores raise whatever their databases and services do
        why = redacted(str(error).partition("\n")[0])
        return f" Not mirrored to MLflow: {why}; `reground promote --mirror` tries again."
    store.objects.write(mark, wanted.encode())
    return f" {told}"


def mirror(store: Store, model: str) -> str:
    """Register what is champion and what is previous, unless they are, and point the aliases at them."""
    client = _client()
    _model(client, model)
    roles = {name: version for name, version in store.promotions.state.roles().items() if name in ROLES}
    told = {name: _version(client, store, model, version) for name, version in roles.items()}
    for name in ROLES:  # the champion first
        if name in told:
            client.set_registered_model_alias(model, name, told[name])
        elif name in client.get_registered_model(model).aliases:
            client.delete_registered_model_alias(model, name)
    aliases = ", ".join(f"{name} is version {number}" for name, number in told.items())
    return f"MLflow model {model}: {aliases or 'no champion'}."


def _client() -> "MlflowClient":
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UserError("promotion.mlflow needs the library mlflow", "pip install 'reground[mlflow]'") from None
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
    """The number of the adapter's model version; it is made if there is none."""
    known = client.search_model_versions(f"name = '{model}' and tag.`{TAG}` = '{version.adapter}'")
    if known:
        return str(known[0].version)
    adapter, entry = store.promotions.artifact(version), store.promotions.last_promotion(version)
    tags = {TAG: version.adapter, WEIGHTS: version.weights, "reground.why": entry.why, "reground.by": entry.who}
    run: Any = client.create_run(_experiment(client, model), tags=tags, run_name=adapter.about)
    client.log_artifacts(run.info.run_id, str(adapter.folder / "adapter"), "adapter")
    client.set_terminated(run.info.run_id)
    made = client.create_model_version(
        model, f"{run.info.artifact_uri}/adapter", run.info.run_id, tags=tags, description=entry.why
    )
    return str(made.version)


def _experiment(client: "MlflowClient", name: str) -> str:
    """The experiment of the model's name; MLflow keeps files below experiments."""
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else str(client.create_experiment(name))
