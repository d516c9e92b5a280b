"""`reground promote | rollback | versions | compare`: what they say and how they end."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from flows.cli import app as cli
from flows.cli import options as shell
from flows.promotion.candidates import roles
from flows.promotion.promotions import Promotions
from tasks.engine.storage.store import Store
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tests.flows.promotion.promoting import adapter, gate, origin, report
from tests.tasks.engine.storage.published import key_of, publish


@pytest.fixture
def reground(monkeypatch, capsys, tmp_path):
    """Run a command on the test's store; returns exit code, stdout with its white space as single spaces, stderr."""

    def run(*words: str):
        monkeypatch.setattr(sys, "argv", ["reground", *words, "-s", f"store={tmp_path / 'store'}"])
        monkeypatch.setattr(shell.console, "_width", 200)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=" ".join(out.split()), err=" ".join(err.split()), raw=out)

    return run


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", project="tiny")


@pytest.mark.parametrize("command", ["promote", "rollback", "versions", "compare", "artifacts", "alias"])
def test_every_command_explains_itself(reground, monkeypatch, command, capsys):
    monkeypatch.setattr(sys, "argv", ["reground", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    assert "Usage:" in capsys.readouterr().out


def test_promote_takes_the_challenger_and_its_gates_word_and_rollback_takes_it_back(reground, store):
    first, second = adapter(store, "first"), adapter(store, "second")
    nobody = reground("promote")
    assert (nobody.code, "no adapter waits for a decision" in nobody.err) == (2, True)
    judged = gate(store, first)
    shown = report(store, judged)
    Promotions(store).challenge(first, gate=judged)
    done = reground("promote")
    assert (done.code, done.out) == (
        0,
        f"{first.about} is promoted: promote: token F1 (answerable) +0.20 [+0.10, +0.30]",
    )
    assert Promotions(store).entries()[-1].report == f"report/{shown.key}"
    again = reground("promote", first.about)
    assert (again.code, f"{first.about} is in service already" in again.out) == (0, True)
    gate(store, second, first, decision="refuse")
    refused = reground("promote", second.about)
    assert refused.code == 2
    assert "the gate refused it" in refused.err
    assert "remedy: train a better one, or promote it by hand: `--force --because …`" in refused.err
    unsaid = reground("promote", second.about, "--force")
    assert (unsaid.code, "needs a reason" in unsaid.err) == (2, True)
    forced = reground("promote", second.about, "--force", "--because", "the rows are stale")
    assert (forced.code, forced.out) == (0, f"{second.about} is promoted in place of {first.about}: the rows are stale")
    back = reground("rollback", "--because", "it invents pump names")
    assert (back.code, back.out) == (
        0,
        f"{second.about} is rolled back; {first.about} is in service: it invents pump names",
    )
    again = reground("promote", first.about)  # which the rollback brought back
    assert (again.code, f"{first.about} is in service already" in again.out) == (0, True)
    more = reground("rollback", "--because", "again")
    assert more.code == 2
    assert f"name it: `reground rollback {first.about} --because …`" in more.err


def test_an_adapter_that_no_gate_judged_is_promoted_by_hand_only(reground, store):
    first = adapter(store, "first")
    refused = reground("promote", first.about)
    assert (refused.code, "was judged by no gate" in refused.err) == (2, True)
    assert reground("promote", "export", "--force", "--because", "the first one").code == 0
    assert roles(store)["champion"].key == first.key


def test_after_a_rollback_the_gate_that_counts_is_that_against_the_champion_of_now(reground, store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    Promotions(store).promote(first, why="better", gate=gate(store, first))
    proof = gate(store, third, first)
    Promotions(store).promote(second, why="better still", gate=gate(store, second, first))
    gate(store, third, second)  # newer, and outdated by the rollback
    Promotions(store).rollback(why="it invents pump names")
    assert reground("promote", third.about).code == 0
    assert Promotions(store).entries()[-1].gate == f"gate/{proof.key}"


def test_versions_tells_what_became_of_each_adapter(reground, store):
    assert "There is no adapter yet" in reground("versions").out
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    never = adapter(store, "never")
    Promotions(store).promote(first, why="better", gate=gate(store, first))
    Promotions(store).promote(second, why="better still", gate=gate(store, second, first))
    Promotions(store).refuse(third, why="worse", gate=gate(store, third, second, decision="refuse"))
    Promotions(store).rollback(why="it invents pump names")
    shown = reground("versions")
    assert shown.code == 0
    assert "rolled back" in shown.out and "it invents pump names" in shown.out and "+0.20" in shown.out
    lines = json.loads(reground("versions", "--json").raw)
    listed = {line["adapter"]: line for line in lines}
    states = {about: line["state"] for about, line in listed.items()}
    assert states == {
        first.about: "champion",
        second.about: "rolled back",
        third.about: "refused",
        never.about: "made",
    }
    assert listed[first.about]["why"] == "it invents pump names", "that is why it is champion again"
    assert listed[second.about]["by_hand"]
    assert listed[second.about]["decision"] == "promote"
    figure = {"metric": "token_f1", "label": "Token F1 (answerable)", "value": 0.2, "against": "base"}
    assert listed[second.about]["figures"] == [figure]
    assert listed[first.about]["size"] == first.size


def test_an_alias_of_the_log_is_refused_with_the_command_that_gives_it(reground, store):
    first = adapter(store, "first")
    refused = reground("alias", "champion", first.about)
    assert refused.code == 2
    assert f"`reground promote {first.about} --force --because …`" in refused.err
    Promotions(store).promote(first, why="by hand")
    assert f"champion {first.about}" in reground("alias").out


def test_artifacts_lists_all_there_is(reground, store):
    made = publish(store, 1, label="toy", made_at="2026-11-24T15:00:00+00:00", measured={"seconds": 1.0})
    assert made.key[:16] in reground("artifacts").out
    assert made.key[:16] not in reground("artifacts", "train").out


def scored(store, of, rows: str, good: float, *, number: int, documents: int = 150, step=None, merge=False) -> None:
    """Scores of an adapter, None for the base, on so many documents of two rows; token F1 is about `good`."""
    chance = np.random.default_rng(number)
    count = 2 * documents
    columns = {name: np.full(count, np.nan) for name in METRICS}
    columns["token_f1"] = np.clip(good + chance.normal(0, 0.1, count), 0, 1)
    ids = [f"{rows}-{row}" for row in range(count)]
    table = Scores(ids, [f"sheet {row // 2}" for row in range(count)], ids, columns)
    about = of.about if of else "base"
    answers = publish(
        store,
        1000 + number,
        {"a": f"{about} {rows} {merge}".encode()},
        "answer",
        inputs={"adapter": of and origin(of["adapter"])},
        payload={"config": {"merge": merge}},
    )
    given = {"answers": origin(answers), "rows": {"digest": rows, "step": step, "key": rows}}
    with store.blobs.staging() as out:
        table.write(out / "scores.arrow")
        key = key_of(2000 + number)
        record = {"label": "score", "key": key, "payload": {"step": "score", "inputs": {"of": number}}, "inputs": given}
        store.publish("score", key, out, record)


def test_compare_tells_which_metrics_differ_on_the_same_rows(reground, store):
    first, second = adapter(store, "first"), adapter(store, "second")
    for number, (of, rows, good) in enumerate(
        [(first, "old", 0.9), (None, "new", 0.2), (first, "new", 0.5), (second, "new", 0.6)]
    ):
        scored(store, of, rows, good, number=number)
    Promotions(store).promote(first, why="by hand")
    listed = json.loads(reground("compare", "champion", second.about, "--json").raw)
    assert listed["names"] == ["champion", second.about]
    assert (listed["rows"], listed["documents"]) == (300, 150)
    (entry,) = [entry for entry in listed["metrics"] if entry["verdict"] == "better"]
    assert entry["name"] == "token_f1" == listed["metrics"][0]["name"]
    assert entry["difference"]["value"] == pytest.approx(0.1, abs=0.02)
    shown = reground("compare", "base", "champion")
    assert shown.code == 0
    assert f"1 of {len(METRICS)} metrics differ, on the same 300 questions about 150 documents." in shown.out


def test_compare_refuses_scores_of_different_rows_and_what_was_never_scored(reground, store):
    first, second, third = (adapter(store, name) for name in ("first", "second", "third"))
    scored(store, first, "old", 0.5, number=1)
    scored(store, second, "new", 0.5, number=2)
    refused = reground("compare", first.about, second.about)
    assert refused.code == 2
    assert f"{first.about} and {second.about} were scored on different rows" in refused.err
    assert "remedy: run `reground retrain`" in refused.err
    refused = reground("compare", first.about, third.about)
    assert (refused.code, f"{third.about}: the store has no scores of it" in refused.err) == (2, True)


def test_compare_takes_the_evaluation_questions_and_what_was_trained_and_says_so(reground, store):
    first = adapter(store, "first")
    scored(store, None, "all", 0.2, number=1, step="build")
    scored(store, first, "all", 0.5, number=2, step="build")
    scored(store, first, "all", 0.4, number=3, step="build", merge=True)
    scored(store, None, "harder", 0.2, number=4, step="slices")
    scored(store, first, "harder", 0.2, number=5, step="slices")
    listed = json.loads(reground("compare", "base", first.about, "--json").raw)
    assert listed["questions"] == "build/all"
    (entry,) = [entry for entry in listed["metrics"] if entry["verdict"] == "better"]
    assert entry["difference"]["value"] == pytest.approx(0.3, abs=0.02)
    named = json.loads(reground("compare", f"score/{key_of(2004)[:16]}", first.about, "--json").raw)
    assert named["questions"] == "slices/harder", "who names the scores of the slices means these"


def test_compare_does_not_guess_which_of_two_evaluation_sets_is_meant(reground, store):
    first = adapter(store, "first")
    for number, rows in enumerate(("may", "june")):
        scored(store, None, rows, 0.2, number=10 * number, step="build")
        scored(store, first, rows, 0.5, number=10 * number + 1, step="build")
    refused = reground("compare", "base", first.about)
    assert refused.code == 2
    assert "both scored on 2 evaluation sets: build/may, build/june" in refused.err
    newest = [f"score/{key_of(number)[:16]}" for number in (2010, 2011)]
    assert f"`reground compare {' '.join(newest)}`" in refused.err
    assert json.loads(reground("compare", *newest, "--json").raw)["questions"] == "build/june"
