"""What a retraining whose adapter a person is to approve tells the deployment that asks."""

from flows.promote import Promote, apply_and_ask
from flows.promotion.decisions import PromotionConfig
from tasks.engine.storage.store import Store
from tests.flows.promotion.promoting import outcome


def test_the_request_means_the_same_in_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("flows.promote.run_deployment", lambda name, **options: started.append((name, options)))
    store = Store("artifacts")
    made = outcome(store, "first")
    apply_and_ask(store, PromotionConfig(mode="approve", deployment="promote/promote"), made, cache="cache")
    ((name, options),) = started
    assert name == "promote/promote"
    request = Promote.model_validate(options["parameters"]["request"])
    assert request.approval
    assert (request.store, request.cache) == (str(tmp_path / "artifacts"), str(tmp_path / "cache"))
    assert request.adapter == f"export/{made.adapter.key}"
    assert (options["timeout"], options["as_subflow"]) == (0, False)  # the retraining does not wait for a person
