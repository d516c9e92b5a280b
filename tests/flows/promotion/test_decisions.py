"""What becomes of a new adapter at the end of a retraining, and again when all was fresh."""

import json
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from flows.config import load
from flows.promotion.candidates import roles
from flows.promotion.decisions import AdapterOutcome, PromotionConfig, apply_decision
from flows.promotion.promotions import Promotions
from flows.promotion.view import sentence
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.rules import Rule
from tasks.gate import GateConfig
from tests.faults.toy import project
from tests.flows.promotion.promoting import outcome
from tests.tasks.evaluation.gating.evaluation import Evaluation
from tests.tasks.evaluation.rows import poor, right

AUTO = PromotionConfig()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def twice(store, config, what) -> AdapterOutcome:
    """Applied twice, as a run that finds everything fresh does: the log says it once."""
    decision = apply_decision(store, config, what)
    entries = Promotions(store).entries()
    apply_decision(store, config, what)
    assert Promotions(store).entries() == entries
    return decision


def test_what_the_gate_would_promote_is_promoted_with_its_proof(store):
    first = outcome(store, "first")
    done = twice(store, AUTO, first)
    assert (done.outcome, done.adapter, done.entry.state.previous) == ("promoted", first.adapter.about, None)
    assert apply_decision(store, AUTO, first).outcome == "in service"
    (entry,) = Promotions(store).entries()
    assert (entry.gate, entry.report) == (f"gate/{first.gate.key}", f"report/{first.report.key}")
    second = outcome(store, "second", first.adapter)
    done = twice(store, AUTO, second)
    assert (done.outcome, done.adapter) == ("promoted", second.adapter.about)
    assert done.entry.state.previous.about == first.adapter.about
    assert sentence(done) == f"{second.adapter.about} is promoted in place of {first.adapter.about}."
    assert Promotions(store).entries()[-1].why == "promote: token F1 (answerable) +0.20 [+0.10, +0.30]"


@pytest.mark.parametrize(
    ("decision", "action", "became"), [("refuse", "refuse", "refused"), ("undecided", "challenge", "undecided")]
)
def test_what_the_gate_does_not_promote_stays_out(store, decision, action, became):
    assert twice(store, AUTO, outcome(store, "first", decision=decision)).outcome == became
    (entry,) = Promotions(store).entries()
    assert (entry.action, entry.decision) == (action, decision)
    assert Promotions(store).state.champion is None


@pytest.mark.parametrize(
    ("config", "waits_for"),
    [
        (PromotionConfig(mode="manual"), "command"),
        (PromotionConfig(mode="approve"), "approval"),
        (PromotionConfig(mode="approve", deployment="promote/ask"), "promote/ask"),
    ],
)
def test_where_a_person_decides_the_adapter_waits(store, config, waits_for):
    first = outcome(store, "first")
    done = twice(store, config, first)
    assert (done.outcome, done.waits_for) == ("waiting", waits_for)
    assert Promotions(store).state.challenger.adapter == f"export/{first.adapter.key}"
    assert Promotions(store).state.champion is None


def test_what_was_rolled_back_is_never_promoted_again_not_even_against_the_champion_of_now(store):
    first = outcome(store, "first")
    second = outcome(store, "second", first.adapter)
    apply_decision(store, AUTO, first)
    apply_decision(store, AUTO, second)
    Promotions(store).rollback(why="it invents pump names")
    entries = Promotions(store).entries()
    for again in (second, outcome(store, "second", first.adapter, again=1)):
        done = twice(store, AUTO, again)
        assert (done.outcome, done.entry.action, done.entry.why) == ("kept out", "rollback", "it invents pump names")
    assert Promotions(store).entries() == entries


@pytest.mark.parametrize("mode", ["auto", "approve", "manual"])
def test_what_a_person_refused_stays_out_until_a_person_promotes_it(store, mode):
    first = outcome(store, "first")
    apply_decision(store, PromotionConfig(mode="approve"), first)
    Promotions(store).refuse(first.adapter, why="too curt", gate=first.gate, approver="Ben")
    entries = Promotions(store).entries()
    done = twice(store, PromotionConfig(mode=mode), first)
    assert (done.outcome, done.entry.action, done.entry.who, done.entry.why) == (
        "kept out",
        "refuse",
        "Ben",
        "too curt",
    )
    assert Promotions(store).entries() == entries
    Promotions(store).promote(first.adapter, why="it grew on us", gate=first.gate)
    assert apply_decision(store, AUTO, first).outcome == "in service"


def test_an_adapter_that_was_compared_with_a_champion_of_before_waits_for_the_next_run(store):
    first, second = outcome(store, "first"), outcome(store, "second")
    apply_decision(store, AUTO, first)
    done = twice(store, AUTO, second)
    assert done.outcome == "outdated"
    assert f"another champion: {first.adapter.about} is champion now" in done.entry.why
    assert [entry.action for entry in Promotions(store).entries()] == ["promote", "challenge"]
    again = outcome(store, "second", first.adapter)
    assert twice(store, AUTO, again).outcome == "promoted"


def test_a_champion_that_cannot_answer_leaves_no_dead_end(store, tmp_path):
    """Rules against the base alone all hold; the log would refuse it as outdated, and so it would the next time."""
    first = outcome(store, "first")
    apply_decision(store, AUTO, first)
    rules = (Rule(metric="token_f1", against="base", must="better"),)
    config = GateConfig(rules=rules, resamples=500, champion_missing=f"the champion {first.adapter.about} is gone")
    second = outcome(store, "second", verdict=Evaluation(tmp_path / "asked", 120).judged(poor, right, config))
    assert twice(store, AUTO, second).outcome == "undecided"
    entry = Promotions(store).entries()[-1]
    assert (entry.action, entry.decision) == ("challenge", "undecided")
    assert f"the champion {first.adapter.about} is gone; take it out of service, `reground rollback`, or" in entry.why
    Promotions(store).promote(second.adapter, gate=second.gate, why="it must be served", force=True)
    assert Promotions(store).is_champion(second.adapter)


def test_applying_a_decision_starts_no_prefect_where_nobody_is_to_be_asked(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, flows.cli.retrain as fresh; from flows.promotion import decisions, versions, view; "
            "from flows.config import load; config = load(None, ['promotion.mode=approve']); "
            "from tasks.engine.storage.store import Store; from tests.flows.promotion.promoting import outcome; "
            f"store = Store({str(tmp_path)!r}); fresh._settled(config, store, outcome(store, 'first')); "
            "print('prefect' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.nightly
def test_a_retraining_ends_with_the_line_that_its_adapter_came_to_and_again_when_all_is_fresh(tmp_path, prefect_server):
    """Of so few documents that no gate could decide."""
    config = project(tmp_path / "project")
    place = [str(config), "-s", f"store={tmp_path / 'store'}"]
    first = terminal("retrain", *place, home=tmp_path)
    (adapter,) = Store(tmp_path / "store").all("export")
    sentence = f"{adapter.about} is not promoted: the gate cannot decide"
    assert sentence in first
    again = terminal("retrain", *place, home=tmp_path)
    assert sentence in again
    assert "Completed" not in again
    (entry,) = Promotions(Store(tmp_path / "store", project=load(config).project)).entries()
    assert (entry.action, entry.decision, entry.by["flow_run"] is not None) == ("challenge", "undecided", True)
    store = ["--config", str(config), "-s", f"store={tmp_path / 'store'}", "--json"]
    (line,) = json.loads(terminal("versions", *store, home=tmp_path))
    assert (line["adapter"], line["state"]) == (adapter.about, "challenger")
    compared = json.loads(terminal("compare", "base", "challenger", *store, home=tmp_path))
    assert compared["rows"] == 8
    terminal("promote", "--force", "--because", "to see it served", *store[:-1], home=tmp_path)
    assert roles(Store(tmp_path / "store", project=load(config).project))["champion"].key == adapter.key
    fresh = terminal("plan", *place, home=tmp_path)
    assert "steps are fresh: nothing would run" in fresh, "its own promotion changes nothing that it is made from"


def terminal(*words: str, home) -> str:
    from prefect.settings import PREFECT_API_URL

    environment = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_the_config_names_who_decides():
    assert load(None, ["promotion.mode=approve", "promotion.deployment=promote/ask"]).promotion.mode == "approve"
    with pytest.raises(UserError, match=r"promotion.mode: Input should be 'auto', 'approve' or 'manual'"):
        load(None, ["promotion.mode=never"])
    with pytest.raises(ValidationError):
        PromotionConfig(mood="auto")
