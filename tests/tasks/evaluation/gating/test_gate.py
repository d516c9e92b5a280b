"""The gate step on real scores: what each rule says, what is decided, and the sentence that says why."""

import json

import pytest
from pydantic import ValidationError

from tasks.engine.errors import UserError
from tasks.evaluation.gating.compare import compare
from tasks.evaluation.gating.decision import Decision
from tasks.evaluation.gating.rules import DECIDING, KEPT, Rule
from tasks.evaluation.gating.verdicts import judge
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tasks.gate import GateConfig, gate
from tests.tasks.evaluation.gating.evaluation import Evaluation
from tests.tasks.evaluation.rows import REFUSAL, poor, right


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return Evaluation(tmp_path_factory.mktemp("large"), 120)


def better_and_not_worse(against="both"):
    return (
        Rule(metric="token_f1", against=against, must="better"),
        Rule(metric="over_refusal", against=against, must="not_worse", margin=0.05),
    )


SHORT = GateConfig(rules=better_and_not_worse(), resamples=500)


def refusing(number, row):
    return REFUSAL


def slightly_spoiled(number, row):
    """One answer in ten invents something."""
    return "It was made in 1777 by Acme Works." if number % 20 == 0 else row.answer


def outcomes(found, against="base"):
    return {(each["metric"], each["must"]): each["outcome"] for each in found["verdicts"] if each["against"] == against}


def test_what_is_better_and_nowhere_worse_is_promoted_with_the_figure_that_says_so(evaluation):
    found = evaluation.judged(poor, right, SHORT)
    assert found["decision"] == "promote"
    assert found["why"].startswith("Promoted because token F1 (answerable) (+0.")
    assert "is better than the base" in found["why"]
    assert set(outcomes(found).values()) == {"holds"}
    assert found["comparisons"]["champion"] is None
    assert found["comparisons"]["trained"] is None
    assert found["settings"]["min_clusters"] == 100


def test_a_model_that_always_refuses_is_refused_and_the_sentence_says_over_refusal(evaluation):
    found = evaluation.judged(right, refusing)
    assert found["decision"] == "refuse"
    assert "is worse than the base, which is more than the margin of 0.05" in found["why"]
    assert outcomes(found)["over_refusal", "not_worse"] == outcomes(found)["correct", "not_worse"] == "fails"
    over_refusal = next(each for each in found["verdicts"] if each["metric"] == "over_refusal")
    assert "+1.00" in over_refusal["reason"] and "margin of 0.05" in over_refusal["reason"]


def test_a_metric_that_no_row_of_one_system_scores_is_open_and_says_so(evaluation):
    asked = (Rule(metric="faithfulness", must="not_worse", margin=0.05),)
    found = evaluation.judged(right, refusing, GateConfig(rules=asked))
    support = next(each for each in found["verdicts"] if each["metric"] == "faithfulness")
    assert (support["outcome"], support["value"], support["documents"]) == ("open", None, 0)
    assert support["reason"] == "Support by the context: no row of the tuned is scored."


def test_the_same_answers_again_are_undecided_and_the_gain_that_would_be_shown_is_told(evaluation):
    found = evaluation.judged(poor, poor, SHORT)
    assert found["decision"] == "undecided"
    claim = found["verdicts"][0]
    assert claim["outcome"] == "open"
    assert claim["detectable"] > 0
    assert f"one of {claim['detectable']:.2f} would be shown" in claim["reason"]
    assert "no gain beyond chance" in found["why"]


def test_under_a_hundred_documents_nothing_is_decided(tmp_path):
    found = Evaluation(tmp_path, 40).judged(poor, right, SHORT)
    assert found["decision"] == "undecided"
    assert set(outcomes(found).values()) == {"open"}
    assert "inconclusive on 40 source documents; it takes 100" in found["why"]


def test_a_margin_that_so_few_rows_cannot_show_is_open_with_the_number_of_documents_that_can(evaluation):
    config = GateConfig(rules=(Rule(metric="hallucination", must="not_worse", margin=0.01),), resamples=500)
    (verdict,) = evaluation.judged(poor, poor, config)["verdicts"]
    assert verdict["outcome"] == "open"
    assert verdict["detectable"] > 0.01
    assert "120 documents such as these show a margin of" in verdict["reason"]
    assert "which takes about" in verdict["reason"]


def test_the_champion_is_to_be_beaten_as_well(evaluation):
    found = evaluation.judged(poor, slightly_spoiled, SHORT, champion=right)
    assert set(outcomes(found).values()) == {"holds"}
    assert outcomes(found, "champion")["token_f1", "better"] == "fails"
    assert found["decision"] == "refuse"
    assert "worse than the champion" in found["why"]
    assert {"champion", "tuned"} <= set(found["comparisons"]["champion"][0])


def test_a_rule_may_ask_for_more_than_a_better_prompt_gives_and_no_other_rule_asks_it(evaluation):
    fair = GateConfig(rules=(*SHORT.rules, Rule(metric="token_f1", against="base_shots", must="better")), resamples=500)
    found = evaluation.judged(poor, slightly_spoiled, fair, base_shots=right)
    assert set(outcomes(found).values()) == {"holds"} and outcomes(found, "base_shots") == {
        ("token_f1", "better"): "fails"
    }
    assert "worse than the base with examples" in found["why"]
    assert evaluation.judged(poor, right, fair, base_shots=poor)["decision"] == "promote"
    assert evaluation.judged(poor, slightly_spoiled, SHORT, base_shots=right)["decision"] == "promote"


def test_rules_against_a_champion_that_there_is_not_promote_nothing(evaluation):
    config = GateConfig(rules=better_and_not_worse("champion"), resamples=500)
    found = evaluation.judged(poor, right, config, shipped=right)
    assert found["decision"] == "undecided"
    assert "there is no champion" in found["why"]
    assert evaluation.judged(poor, right, config, champion=poor)["decision"] == "promote"


def test_a_champion_that_cannot_answer_leaves_it_undecided(evaluation):
    config = SHORT.model_copy(update={"champion_missing": "the champion export/1 needs its base model old"})
    found = evaluation.judged(poor, right, config)
    assert found["decision"] == "undecided"
    assert "against the champion: the champion export/1 needs its base model old" in found["why"]
    assert found["verdicts"][-1]["detectable"] is None


def test_nor_is_it_decided_by_rules_against_the_base_alone_and_the_sentence_says_what_to_do(evaluation):
    missing = "the champion export/1 needs its base model old"
    config = GateConfig(rules=better_and_not_worse("base"), resamples=500, champion_missing=missing)
    found = evaluation.judged(poor, right, config)
    assert found["decision"] == "undecided"
    assert set(outcomes(found).values()) == {"holds"}
    assert missing in found["why"] and "`reground rollback`" in found["why"] and "--force --because" in found["why"]
    assert evaluation.judged(right, refusing, config)["decision"] == "refuse"


def test_what_ships_must_be_as_good_as_what_was_trained(evaluation):
    found = evaluation.judged(poor, right, SHORT, shipped=right)
    assert (found["decision"], {each["against"] for each in found["verdicts"]}) == ("promote", {"base", "trained"})
    assert {"trained", "shipped"} <= set(found["comparisons"]["trained"][0])
    found = evaluation.judged(poor, right, SHORT, shipped=poor)
    assert found["decision"] == "refuse"
    assert "is worse than what was trained, which is more than the margin of 0.05" in found["why"]


def test_one_gain_is_enough_for_any_and_not_for_all(evaluation):
    claims = (Rule(metric="token_f1", must="better"), Rule(metric="truncated", must="better"))
    ends = {}
    for better in ("any", "all"):
        found = evaluation.judged(slightly_spoiled, right, GateConfig(rules=claims, better=better, resamples=500))
        ends[better] = found["decision"], found["verdicts"][1]["needed"], found["verdicts"][0]["p"]
    assert ends["any"][:2] == ("promote", False)
    assert ends["all"][:2] == ("undecided", True)
    assert ends["any"][2] == pytest.approx(2 * ends["all"][2], abs=2e-6)  # Holm, of two


def test_by_default_right_answers_or_refusing_must_gain_and_neither_they_nor_hallucinations_may_get_worse():
    rules = GateConfig().rules
    assert {rule.metric for rule in rules if rule.must == "better"} == set(DECIDING)
    assert {rule.metric for rule in rules if rule.must == "not_worse"} == {*KEPT}
    assert {rule.against for rule in rules if rule.must == "better"} == {"both"}
    assert {rule.metric for rule in rules if rule.against == "best"} == set(DECIDING)
    assert [(rule.metric, rule.level) for rule in rules if rule.must == "at_least"] == [("correct", 0.1)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"metric": "tokenf1", "must": "better"}, "did you mean 'token_f1'?"),
        ({"metric": "copy_density", "must": "better"}, "a diagnostic, of which no value is better"),
        ({"metric": "token_f1", "must": "not_worse"}, "needs a margin"),
        ({"metric": "token_f1", "must": "better", "margin": 0.1}, "a margin is for not_worse"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(given, says):
    with pytest.raises(ValidationError, match=says.replace("?", r"\?")):
        Rule(**given)


def test_scores_of_different_rows_are_refused(evaluation, tmp_path):
    other = Evaluation(tmp_path, 13)
    with pytest.raises(UserError, match="score different rows"):
        gate(GateConfig(), base_scores=evaluation.scores(poor), tuned_scores=other.scores(right), out=tmp_path)


def test_the_same_rows_from_other_documents_are_refused_with_the_row(evaluation, tmp_path):
    """Documents are what the error bars count; the first system's were taken, whatever the second's said."""
    moved = Scores.read(evaluation.scores(right) / "scores.arrow")
    moved.documents[3] = "Sheet 7"
    moved.write(tmp_path / "scores.arrow")
    with pytest.raises(UserError, match=f"different documents: row {moved.ids[3]} from 'Sheet 1' and from 'Sheet 7'"):
        gate(GateConfig(), base_scores=evaluation.scores(poor), tuned_scores=tmp_path, out=tmp_path)


def test_every_metric_is_compared_in_the_order_of_the_table(evaluation):
    found = evaluation.judged(poor, right, SHORT)
    assert [entry["name"] for entry in found["comparisons"]["base"]] == list(METRICS)


def test_a_kind_of_rule_that_nobody_handles_is_an_error(evaluation):
    scores = Scores.read(evaluation.scores(right) / "scores.arrow")
    compared = compare(scores, scores, ("base", "tuned"), resamples=100, seed=0, metrics=["token_f1"])
    with pytest.raises(AssertionError, match="equal"):
        judge([Rule.model_construct(metric="token_f1", must="equal", margin=None)], compared, "base", "any")


def test_gate_json_is_the_dump_of_a_decision(evaluation, tmp_path):
    written = evaluation.judged(poor, slightly_spoiled, champion=right)
    read = Decision.read(evaluation.folder / "gate" / "gate.json")
    assert read.model_dump(mode="json") == written
    assert read.comparisons["champion"][0].figures.keys() == {"champion", "tuned"}


def test_gate_json_from_before_it_had_a_schema_version_is_still_read(evaluation, tmp_path):
    config = SHORT.model_copy(update={"champion_missing": "the champion export/1 needs its base model old"})
    new = evaluation.judged(poor, right, config)
    old = {name: new[name] for name in ("decision", "why", "verdicts", "comparisons", "settings")}
    for verdict in old["verdicts"]:
        del verdict["finding"], verdict["unscored"]
    for compared in old["comparisons"]["base"]:
        if change := compared["difference"]:
            compared["difference"] = {name: each for name, each in change.items() if each is not None}
    (tmp_path / "gate.json").write_text(json.dumps(old))
    read = Decision.read(tmp_path / "gate.json")
    assert (read.schema_version, read.decision, read.why) == (1, "undecided", new["why"])
    assert read.champion_missing == config.champion_missing
    assert [each.reason for each in read.verdicts] == [each["reason"] for each in new["verdicts"]]
    assert read.comparisons["base"][0].figures["tuned"].value == new["comparisons"]["base"][0]["tuned"]["value"]
