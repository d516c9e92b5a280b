"""What becomes of a new adapter at the end of a retraining, and again when all was fresh."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from flows.config import load
from flows.promotion.settle import PromotionConfig, settle
from tasks.engine.code.source import ROOT
from tasks.engine.errors import UserError
from tasks.engine.storage.store import Store
from tasks.evaluation.gating.rules import Rule
from tasks.gate import GateConfig
from tests.faults.toy import project
from tests.flows.promotion.promoting import adapter, gate, report
from tests.tasks.evaluation.gating.test_gate import Evaluation
from tests.tasks.evaluation.rows import poor, right

AUTO = PromotionConfig()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def outcome(store, name, champion=None, **how):
    made = adapter(store, name)
    judged = gate(store, made, champion, **how)
    return SimpleNamespace(adapter=made, gate=judged, report=report(store, judged))


def twice(store, config, what) -> str:
    """Settled twice, for a run that finds all fresh settles again: the log says it once."""
    told = settle(store, config, what)
    entries = store.promotions.entries()
    settle(store, config, what)
    assert store.promotions.entries() == entries
    return told


def test_what_the_gate_would_promote_is_promoted_with_its_proof(store):
    first = outcome(store, "first")
    assert twice(store, AUTO, first) == f"{first.adapter.about} is promoted."
    assert settle(store, AUTO, first) == f"{first.adapter.about} is in service."
    (entry,) = store.promotions.entries()
    assert (entry.gate, entry.report) == (f"gate/{first.gate.key}", f"report/{first.report.key}")
    second = outcome(store, "second", first.adapter)
    assert twice(store, AUTO, second) == f"{second.adapter.about} is promoted in place of {first.adapter.about}."
    assert store.promotions.entries()[-1].why == "promote: token F1 (answerable) +0.20 [+0.10, +0.30]"


@pytest.mark.parametrize(
    ("decision", "action", "says"),
    [("refuse", "refuse", "is refused."), ("undecided", "challenge", "for the gate cannot decide")],
)
def test_what_the_gate_does_not_promote_stays_out_and_the_line_says_so(store, decision, action, says):
    assert says in twice(store, AUTO, outcome(store, "first", decision=decision))
    (entry,) = store.promotions.entries()
    assert (entry.action, entry.decision) == (action, decision)
    assert store.promotions.state.champion is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PromotionConfig(mode="manual"), "waits for `reground promote`"),
        (PromotionConfig(mode="approve"), "waits for approval in the flow promote"),
        (PromotionConfig(mode="approve", deployment="promote/ask"), "waits for approval in a run of promote/ask"),
    ],
)
def test_where_a_person_decides_the_adapter_waits(store, config, says):
    first = outcome(store, "first")
    assert says in twice(store, config, first)
    assert store.promotions.state.challenger.adapter == f"export/{first.adapter.key}"
    assert store.promotions.state.champion is None


def test_what_was_rolled_back_is_never_promoted_again_not_even_against_the_champion_of_now(store):
    first = outcome(store, "first")
    second = outcome(store, "second", first.adapter)
    settle(store, AUTO, first)
    settle(store, AUTO, second)
    store.promotions.rollback(why="it invents pump names")
    entries = store.promotions.entries()
    for again in (second, outcome(store, "second", first.adapter, again=1)):
        assert "stays out of service: rolled back on" in twice(store, AUTO, again)
        assert settle(store, AUTO, again).endswith("it invents pump names")
    assert store.promotions.entries() == entries


@pytest.mark.parametrize("mode", ["auto", "approve", "manual"])
def test_what_a_person_refused_stays_out_until_a_person_promotes_it(store, mode):
    first = outcome(store, "first")
    settle(store, PromotionConfig(mode="approve"), first)
    store.promotions.refuse(first.adapter, why="too curt", gate=first.gate, approver="Ben")
    entries = store.promotions.entries()
    assert twice(store, PromotionConfig(mode=mode), first).endswith("by Ben: too curt")
    assert store.promotions.entries() == entries
    store.promotions.promote(first.adapter, why="it grew on us", gate=first.gate)
    assert settle(store, AUTO, first) == f"{first.adapter.about} is in service."


def test_an_adapter_that_was_compared_with_a_champion_of_before_waits_for_the_next_run(store):
    first, second = outcome(store, "first"), outcome(store, "second")
    settle(store, AUTO, first)
    assert f"another champion: {first.adapter.about} is champion now" in twice(store, AUTO, second)
    assert [entry.action for entry in store.promotions.entries()] == ["promote", "challenge"]
    anew = outcome(store, "second", first.adapter)
    assert "is promoted in place of" in twice(store, AUTO, anew)


def test_a_champion_that_cannot_answer_leaves_no_dead_end(store, tmp_path):
    """Rules against the base alone all hold; the log would refuse it as outdated, and so it would the next time."""
    first = outcome(store, "first")
    settle(store, AUTO, first)
    rules = (Rule(metric="token_f1", against="base", must="better"),)
    config = GateConfig(rules=rules, resamples=500, champion_missing=f"the champion {first.adapter.about} is gone")
    second = outcome(store, "second", told=Evaluation(tmp_path / "asked", 120).judged(poor, right, config))
    assert twice(store, AUTO, second) == f"{second.adapter.about} is not promoted, for the gate cannot decide."
    entry = store.promotions.entries()[-1]
    assert (entry.action, entry.decision) == ("challenge", "undecided")
    assert f"the champion {first.adapter.about} is gone; take it out of service, `reground rollback`, or" in entry.why
    store.promotions.promote(second.adapter, gate=second.gate, why="it must be served", force=True)
    assert store.promotions.is_champion(second.adapter)


def test_settling_starts_no_prefect_where_nobody_is_to_be_asked(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, flows.cli.retrain as fresh; from flows.promotion import decide, settle, versions; "
            "from flows.config import load; config = load(None, ['promotion.mode=approve']); "
            "from tasks.engine.storage.store import Store; from tests.flows.promotion.test_settle import outcome; "
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
    told = f"{adapter.about} is not promoted, for the gate cannot decide"
    assert told in first
    again = terminal("retrain", *place, home=tmp_path)
    assert told in again
    assert "Completed" not in again
    (entry,) = Store(tmp_path / "store").promotions.entries()
    assert (entry.action, entry.decision, entry.by["flow_run"] is not None) == ("challenge", "undecided", True)
    store = ["--config", str(config), "-s", f"store={tmp_path / 'store'}", "--json"]
    (line,) = json.loads(terminal("versions", *store, home=tmp_path))
    assert (line["adapter"], line["state"]) == (adapter.about, "challenger")
    compared = json.loads(terminal("compare", "base", "challenger", *store, home=tmp_path))
    assert compared["rows"] == 8
    terminal("promote", "--force", "--because", "to see it served", *store[:-1], home=tmp_path)
    assert Store(tmp_path / "store").alias("champion").key == adapter.key
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
