"""The report step on real files: what it concludes, what it shows, and that it is safe to open."""

import html
import re

import pytest
from rich.console import Console

from tasks.engine.errors import UserError
from tasks.evaluation.metrics import METRICS
from tasks.report import ReportConfig
from tasks.reporting.rendering import render
from tasks.reporting.terminal import table
from tasks.reporting.terminal import verdicts as verdict_table
from tests.tasks.evaluation.rows import REFUSAL, poor, right, triplets
from tests.tasks.reporting.reported import COST, inputs, told


def verdicts(found):
    return {entry["name"]: entry["verdict"] for entry in found["comparisons"]["base"]}


@pytest.fixture(scope="module")
def improved(tmp_path_factory):
    """A poor base and a perfect tuned model on 120 documents."""
    folder = tmp_path_factory.mktemp("improved")
    return folder / "report", told(folder, inputs(folder, triplets(120), poor, right))


def test_a_real_gain_is_called_better(improved):
    _, found = improved
    called = verdicts(found)
    for name in ("hallucination", "token_f1", "abstention_f1", "over_refusal", "contrast_pairs"):
        assert called[name] == "better", name
    assert called["leaky_abstention"] == "inconclusive"  # the base refuses in 60 documents only
    assert called["contains_value"] == "not scored"
    assert called["length_ratio"] == "diagnostic"
    assert "worse" not in called.values()
    assert "It deals rightly with 100 % of the questions, the base model with 25 %" in found["sentence"]


def test_a_difference_is_tuned_less_base_with_an_interval_around_it(improved):
    _, found = improved
    for entry in found["comparisons"]["base"]:
        if change := entry["difference"]:
            assert change["value"] == pytest.approx(entry["tuned"]["value"] - entry["base"]["value"], abs=2e-6)
            assert change["low"] <= change["value"] <= change["high"]


def test_metrics_stand_in_the_order_of_their_table_with_counts(improved):
    _, found = improved
    assert [entry["name"] for entry in found["comparisons"]["base"]] == list(METRICS)
    recall = next(entry for entry in found["comparisons"]["base"] if entry["name"] == "abstention_recall")
    assert (recall["rows"], recall["documents"]) == (120, 120)


def test_primary_p_values_are_corrected_and_binary_ones_tested_exactly(improved):
    _, found = improved
    for entry in found["comparisons"]["base"]:
        if entry["primary"]:
            assert entry["difference"]["p_holm"] >= entry["difference"]["p"]
    over_refusal = next(entry for entry in found["comparisons"]["base"] if entry["name"] == "over_refusal")[
        "difference"
    ]
    assert over_refusal["lost"] == 0 or over_refusal["gained"] == 0
    assert over_refusal["p"] >= over_refusal["mcnemar_p"]


def test_abstention_stands_beside_always_and_never_refusing(improved):
    _, found = improved
    figures = {system["name"]: system["abstention_f1"] for system in found["abstention"]}
    assert list(figures) == ["base", "tuned", "always refuse", "never refuse"]
    assert (figures["tuned"], figures["never refuse"]) == (1, 0)
    assert figures["always refuse"] == pytest.approx(2 / 3)


def test_the_same_answers_twice_are_no_significant_difference(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), poor, poor))
    assert not set(verdicts(found).values()) & {"better", "worse"}
    assert verdicts(found)["token_f1"] == "no significant difference"
    assert found["decision"] != "promote"


def test_a_model_that_always_refuses_is_called_worse(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(110), right, lambda number, row: REFUSAL))
    called = verdicts(found)
    assert called["token_f1"] == called["over_refusal"] == called["contrast_pairs"] == "worse"
    assert "better" not in called.values()
    assert found["decision"] == "refuse"
    assert found["headline"].count(".") == len(re.findall(r"\d\.\d", found["headline"])) + 1  # one sentence
    for file in ("report.html", "report.md", "model-card.md"):
        assert found["headline"] in html.unescape((tmp_path / "report" / file).read_text()), file


def test_under_a_hundred_documents_nobody_wins(tmp_path):
    found = told(tmp_path, inputs(tmp_path, triplets(40), poor, right))
    assert set(verdicts(found).values()) <= {"inconclusive", "diagnostic", "not scored"}
    assert found["decision"] == "undecided"


def test_what_got_lost_comes_first_then_the_other_mistakes_then_the_rest(tmp_path):
    spoiled, hopeless = {3, 10, 17}, {20, 40}
    rows = triplets(60)

    def wrong(number, row):
        return "It was made in 1888 by Other Works." if number in hopeless else row.answer

    def tuned(number, row):
        return REFUSAL if number == 10 else wrong(20, row) if number in spoiled | hopeless else row.answer

    found = told(tmp_path, inputs(tmp_path, rows, wrong, tuned), ReportConfig(examples=4, answers=100))
    ids = [row["id"] for row in found["answers"]]
    assert set(ids[:2]) == {rows[3].id, rows[17].id} and ids[2] == rows[10].id  # wrong before refused
    assert set(ids[3:5]) == {rows[20].id, rows[40].id} and len(ids) == 100
    assert found["mistakes"] == {"against": "base", "lost": 3, "bad": 5, "shown": 4}
    assert [row["lost"] for row in found["answers"][:5]] == [True] * 3 + [False] * 2
    assert [("context" in row) for row in found["answers"][:5]] == [True] * 4 + [False]
    assert [row["tuned"]["outcome"] for row in found["answers"][:3]] == ["wrong", "wrong", "refused wrongly"]


def test_markdown_has_decision_outcomes_and_verdicts(improved):
    folder, found = improved
    text = (folder / "report.md").read_text()
    assert f"**{found['headline']}**" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert sorted({line.count("|") for line in rows}) == [5, 6, 8]
    assert sum(line.count("|") == 5 for line in rows) == len(found["verdicts"]) + 2
    assert sum(line.count("|") == 6 for line in rows) == len(found["outcomes"]) + 2
    assert len(text) < 8_000


def test_every_question_has_one_of_four_outcomes_for_each_system(improved):
    _, found = improved
    base, tuned = found["outcomes"]
    assert tuned == {
        **{"name": "tuned", "good": 240, "right": 120, "refused_rightly": 120},
        **{"wrong": 0, "refused_wrongly": 0},
    }
    kinds = [base[name] for name in ("right", "refused_rightly", "wrong", "refused_wrongly")]
    assert sum(kinds) == 240 and min(kinds) > 0


def test_an_answer_with_another_value_of_the_same_sheet_is_wrong(tmp_path):
    """However near its words are to the right ones."""
    rows = [row._replace(value=str(1000 + n)) for n, row in enumerate(triplets(20))]
    rows = [row if row.refusal else row._replace(answer=f"It was {row.value} in all.") for row in rows]

    def swapped(number, row):
        return row.answer.replace("10", "20") if number % 4 == 0 else row.answer

    found = told(tmp_path, inputs(tmp_path, rows, lambda number, row: row.answer, swapped))
    assert [each["wrong"] for each in found["outcomes"]] == [0, 10]
    text = (tmp_path / "report/report.html").read_text()
    assert text.count('data-outcome="wrong" data-change="lost"') == 10


def test_the_card_of_the_adapter_gets_the_evaluation(improved):
    folder, found = improved
    card = (folder / "model-card.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n---\n\n# LoRA adapter\n\n## Evaluation\n")
    assert found["headline"] in card


def test_the_terminal_table_fits_in_a_hundred_columns(improved):
    _, found = improved
    console = Console(width=100, force_terminal=True, color_system="standard", record=True)
    with console.capture() as captured:
        console.print(table(found))
    assert "…" not in captured.get()
    assert "\x1b[1;32mbetter" in captured.get()
    plain = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    assert max(map(len, plain.splitlines())) <= 100
    assert plain.index("refused wrongly") < plain.index("Correctness") < plain.index("Faithfulness")
    for metric in METRICS.values():
        assert metric.label in plain


def test_the_terminal_tells_which_rules_do_not_hold(improved):
    _, found = improved

    def said(**changed):
        console = Console(width=100)
        with console.capture() as captured:
            console.print(verdict_table(found | changed))
        return captured.get()

    holding = [verdict for verdict in found["verdicts"] if verdict["outcome"] == "holds"]
    assert said(verdicts=holding) == f"Rules of the gate: {len(holding)} passed\n"
    failing = said(verdicts=[*holding, holding[0] | {"outcome": "fails"}])
    assert failing.startswith(f"Rules of the gate: {len(holding)} passed, 1 failed")
    assert failing.count(holding[0]["label"]) == 1


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    rows = triplets(20)
    places = inputs(tmp_path, rows, poor, right)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        told(tmp_path / name, places)
    files = sorted(path.name for path in (tmp_path / "a/report").iterdir())
    assert files == ["model-card.md", "report.html", "report.json", "report.md"]
    for file in files:
        assert (tmp_path / "a/report" / file).read_bytes() == (tmp_path / "b/report" / file).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a/report/report.json").read_text()


def test_a_training_without_curve_or_summary_is_shown_as_it_is(tmp_path):
    places = inputs(tmp_path, triplets(12), poor, right)
    for file in places["training"].iterdir():
        file.unlink()
    found = told(tmp_path, places)
    assert found["training"] == {"loss": [], "held_out": [], "summary": {}, "cost": {}}
    assert "loss per answer token" not in (tmp_path / "report/report.html").read_text()


def test_what_the_training_cost_is_shown_from_its_record(improved):
    folder, found = improved
    assert found["training"]["cost"] == COST
    assert "## What the training cost\n\n12,345 tokens a second, 46% of" in (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    assert set(re.findall(r'data-path="training\.cost\.(\w+)"', page)) == COST.keys()
    assert "cost" not in (folder / "model-card.md").read_text()  # which goes with the adapter


@pytest.mark.parametrize(
    ("cost", "line"),
    [
        (
            {**COST, "watts": 612},
            "12,345 tokens a second, 46% of the device's matrix rate (MFU), 20,123 MiB at the peak (20,500 predicted), "
            "612 W",
        ),
        ({"tokens_per_second": 9, "computed_tokens_per_second": 18}, "9 tokens a second (18 with padding)"),
        ({"tokens_per_second": 9, "peak_mib": 600}, "9 tokens a second, 600 MiB at the peak"),  # of an older record
        ({"peak_mib": 600}, "600 MiB at the peak"),
        ({}, ""),
    ],
)
def test_what_a_record_has_not_is_left_out(cost, line):
    section = render("report/cost.md.jinja", report={"training": {"cost": cost}})
    assert section == (f"## What the training cost\n\n{line}.\n" if line else "")


def test_a_folder_without_card_is_refused(tmp_path):
    places = inputs(tmp_path, triplets(12), poor, right)
    (places["adapter"] / "adapter" / "README.md").unlink()
    with pytest.raises(UserError, match="no model card"):
        told(tmp_path, places)


def test_scores_of_different_rows_are_refused(tmp_path):
    places = inputs(tmp_path / "one", triplets(12), poor, right)
    others = inputs(tmp_path / "other", triplets(13), poor, right)
    with pytest.raises(UserError, match="score different rows"):
        told(tmp_path, places | {"tuned_scores": others["tuned_scores"]})
