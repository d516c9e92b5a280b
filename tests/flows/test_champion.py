"""The adapter in service answers the same questions as the new one, from its own base and by its own template."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from flows.promotion.candidates import roles
from flows.promotion.log import same
from flows.promotion.promotions import Promotions
from flows.sources import Incumbent, _base_of, base_model, incumbent, template
from tasks.engine.errors import UserError
from tasks.engine.inputs import HubModel
from tests.flows.rerun import run

pytestmark = pytest.mark.usefixtures("loaded_training")
BY_CHAMPION = {"answer champion", "score champion"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def served(project, made):
    """A store in which the one adapter of the earlier run is in service."""
    project.own_store()
    store = project.config.open_store()
    Promotions(store).promote(store.find("export", made.used["export"].key), why="to try it")
    return project


def planned(project):
    return {each.label: each for each in project.plan().steps}


def now(project):
    """The adapter in service, as a new one is compared with it."""
    config = project.config
    return incumbent(config.open_store(), None, base_model(config.base), template(config.prompt))


def test_without_a_champion_there_is_nothing_to_answer(project):
    assert not BY_CHAMPION & set(planned(project))
    assert now(project) is None


def test_after_a_promotion_a_rerun_with_nothing_changed_is_all_cached(served):
    steps = planned(served)
    assert {each.status for each in steps.values()} == {"fresh"}
    assert not BY_CHAMPION & set(steps)  # it is the champion; none was in service before it


def test_a_champions_answers_are_those_that_it_gave_when_it_was_new(served, made):
    served.set("train.seed=1")
    steps = planned(served)
    assert steps["answer tuned"].status == "waits"
    for role in ("answer", "score"):
        assert steps[f"{role} champion"].status == "fresh"
        assert steps[f"{role} champion"].request.key == made.used[f"{role} tuned"].key
    assert steps["gate"].status == "waits"


def test_a_new_adapter_is_judged_against_the_champion_as_well_and_again_all_is_cached(served):
    import orjson

    served.set("train.seed=1")
    used = run(served, "train", "export", "answer tuned", "score tuned", "gate", "report")
    gate_file = orjson.loads((used["gate"].folder / "gate.json").read_bytes())
    assert {each["against"] for each in gate_file["verdicts"]} == {"base", "champion"}
    assert {"champion", "tuned"} <= set(gate_file["comparisons"]["champion"][0])
    assert gate_file["decision"] != "promote"  # a few rows decide nothing
    store = served.config.open_store()
    Promotions(store).promote(used["export"], why="to try it")  # by hand
    steps = planned(served)
    assert set(steps) >= BY_CHAMPION  # the one before it
    assert {each.status for each in steps.values()} == {"fresh"}


def test_the_best_so_far_answers_too_where_it_is_not_the_champion_and_once_if_it_is_the_best_in_all(
    served, made, monkeypatch
):
    served.set("train.seed=1")
    first = Promotions(served.config.open_store()).state.champion
    monkeypatch.setattr("flows.promotion.log.Log.best", lambda log, metric: first)
    assert not [label for label in planned(served) if "best" in label]
    other = replace(first, adapter="export/" + "f" * 64, weights="others")
    monkeypatch.setattr("flows.promotion.log.Log.is_champion", lambda log, adapter: same(adapter, other))
    steps = planned(served)
    assert [label for label in steps if "best" in label] == [
        "answer best in right answers (answerable)",
        "score best in right answers (answerable)",
    ]
    inputs = steps["gate"].request.inputs
    assert inputs["best_correct_scores"].about == inputs["best_abstention_f1_scores"].about
    monkeypatch.setattr("flows.sources._base_of", lambda record, base: None)
    assert "the best so far" in planned(served)["gate"].request.config.best_missing


def test_a_champion_keeps_its_own_template_and_base(served, made):
    old, served_prompt = template(served.config.prompt).digest, served.config.prompt.told
    served.edit("prompt.jinja", "Answer:", "Reply:")
    served.set("prompt.system=Be brief.")
    (served / "base/tokenizer.json").write_text((served / "base/tokenizer.json").read_text() + "\n")
    config = served.config
    how = now(served).inputs
    assert now(served).prompt == served_prompt != config.prompt.told
    assert how["template"].digest == old != template(config.prompt).digest
    assert how["base"].path == made.folder / "base"  # where it was when the champion was trained
    assert how["base"].digest != base_model(config.base).digest


def test_a_champion_whose_base_is_gone_leaves_the_gate_undecided(served, monkeypatch):
    monkeypatch.setattr("flows.sources._base_of", lambda record, base: None)
    found = now(served)
    assert found == Incumbent(None, missing=found.missing)
    assert "needs its base model base, which is not on this machine" in found.missing
    served.set("train.seed=1")
    steps = planned(served)
    assert not BY_CHAMPION & set(steps)
    assert steps["gate"].request.config.champion_missing == found.missing


def test_a_champion_that_is_flawed_leaves_the_gate_undecided(served, made):
    (served.store / f"export/{made.used['export'].key[:16]}/adapter/README.md").unlink()
    assert "the champion cannot answer" in now(served).missing


def test_a_promotion_log_that_is_harmed_stops_the_run_instead_of_passing_for_a_champion_that_cannot_answer(served):
    """The gate would be undecided, and say so of an adapter that is whole; `fsck` and a backup are the remedy."""
    entry = served.store / "projects/tiny/promotions/00000001.json"
    entry.write_text(entry.read_text().replace("to try it", "to test it"))
    with pytest.raises(UserError, match="the promotion log is damaged"):
        now(served)


def test_a_base_of_the_hub_is_had_by_its_commit():
    today = SimpleNamespace(digest="other")
    record = SimpleNamespace(payload={"inputs": {"base": f"org/model@{COMMIT}"}}, config={"base_model": "org/model"})
    assert _base_of(record, today) == HubModel("org/model", COMMIT)
    gone = SimpleNamespace(payload={"inputs": {"base": "0" * 64}}, config={"base_model": "/no/such/folder"})
    assert _base_of(gone, today) is None


def test_a_warm_start_that_made_the_champion_is_found_again_and_does_not_go_on_from_itself(served):
    served.set("train.start=champion")
    first = roles(served.config.open_store())["champion"].key
    used = run(served, "build", "train", "export", "answer tuned", "score tuned", "gate", "report")
    assert used["train"].record.inputs["start"].key
    store = served.config.open_store()
    Promotions(store).promote(store.find("export", used["export"].key), why="better")
    assert roles(store)["champion"].key != first
    assert {each.status for each in planned(served).values()} == {"fresh"}
    served.set("train.seed=7")  # another training goes on from the champion of now
    start = planned(served)["train"].request.inputs["start"]
    assert start.key == used["train"].key
