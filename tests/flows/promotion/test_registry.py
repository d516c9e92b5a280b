"""Champion and previous in an MLflow model registry: a real one, of SQLite and a folder."""

import subprocess
import sys

import pytest

from flows.promotion.candidates import roles
from flows.promotion.decisions import PromotionConfig, apply_decision
from flows.promotion.promotions import Promotions
from flows.promotion.registry import TAG, Mirrored, mirror, update_registry
from flows.promotion.view import sentence
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import adapter, outcome

MIRRORED = PromotionConfig(mlflow="answerer")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A registry of this test's own; MLflow's own environment names it."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'reground[mlflow]'")
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return mlflow.MlflowClient()


def aliases(client) -> dict[str, str]:
    """Alias → the adapter's tag, and that its files are there as they were exported."""
    found = {}
    for name, number in client.get_registered_model("answerer").aliases.items():
        version = client.get_model_version("answerer", number)
        found[name] = version.tags[TAG]
    return found


def test_what_is_promoted_and_rolled_back_is_so_in_the_registry_and_said_once(store, client, tmp_path):
    import mlflow

    first = outcome(store, "first")
    assert apply_decision(store, MIRRORED, first).mirrored == Mirrored(model="answerer", versions={"champion": "1"})
    assert apply_decision(store, MIRRORED, first).mirrored is None, "nothing new to mirror"
    second = outcome(store, "second", first.adapter)
    assert apply_decision(store, MIRRORED, second).mirrored.versions == {"champion": "2", "previous": "1"}
    assert aliases(client) == {"champion": f"export/{second.adapter.key}", "previous": f"export/{first.adapter.key}"}
    champion = client.get_model_version_by_alias("answerer", "champion")
    folder = mlflow.artifacts.download_artifacts(artifact_uri=champion.source, dst_path=str(tmp_path / "served"))
    weights = (tmp_path / "served/adapter/adapter_model.safetensors").read_bytes()
    assert folder and weights == (second.adapter.folder / "adapter/adapter_model.safetensors").read_bytes()
    assert champion.description == second_why(store)
    Promotions(store).rollback(why="it invents pump names")
    update_registry(store, "answerer")
    assert aliases(client) == {"champion": f"export/{first.adapter.key}"}
    mirror(store, "answerer")
    assert len(client.search_model_versions("name = 'answerer'")) == 2


def second_why(store) -> str:
    return Promotions(store).entries()[-1].why


def test_a_registry_that_cannot_be_reached_loses_nothing_and_is_brought_up_to_date_the_next_time(
    store, client, tmp_path, monkeypatch
):
    import mlflow

    mlflow.set_tracking_uri("http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    first = outcome(store, "first")
    done = apply_decision(store, MIRRORED, first)
    assert done.outcome == "promoted" and done.mirrored.error
    assert "`reground promote --mirror` tries again" in sentence(done)
    assert roles(store)["champion"].key == first.adapter.key
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    done = apply_decision(store, MIRRORED, first)
    assert (done.outcome, done.mirrored.versions) == ("in service", {"champion": "1"})
    assert aliases(client) == {"champion": f"export/{first.adapter.key}"}


def test_without_the_library_it_is_told_what_to_install(store, monkeypatch):
    Promotions(store).promote(adapter(store, "first"), why="by hand")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'reground\[mlflow\]'"):
        mirror(store, "answerer")
    assert "promotion.mlflow needs the library mlflow" in update_registry(store, "answerer").error


def test_without_the_setting_mlflow_is_not_imported():
    modules = "flows.cli.app, flows.promotion.decisions, flows.promotion.registry"
    script = f"import sys, {modules}; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
