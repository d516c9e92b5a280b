"""The score step on real Arrow files."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.triplets import Triplet
from tasks.engine.errors import UserError
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.metrics.scores import Scores
from tasks.evaluation.statistics import estimate
from tasks.score import ScoreConfig, score
from tests.tasks.evaluation.rows import REFUSAL, poor, right, triplets, write_answers, write_rows

CONFIG = ScoreConfig()


def scored(folder, rows, say, config=CONFIG):
    """The scores of a system that answers the rows as `say` tells, and their summary."""
    given = write_rows(folder / "rows", rows)
    answers = write_answers(folder / "answers", rows, say)
    out = folder / "scores"
    out.mkdir()
    score(config, rows=given, answers=answers, out=out)
    return Scores.read(out / "scores.arrow"), json.loads((out / "summary.json").read_text())


def figures(summary):
    return {name: figure["value"] for name, figure in summary["metrics"].items()}


def test_right_answers_score_best_on_every_metric_that_has_a_best(tmp_path):
    _, summary = scored(tmp_path, triplets(24), right)
    found = figures(summary)
    for name, metric in METRICS.items():
        if name in ("contains_value", "faithfulness", "relevance", "citations_exist", "citations_supported"):
            continue
        if metric.direction != "none":
            assert found[name] == (1 if metric.direction == "higher" else 0), name
    assert found["faithfulness"] > 0.8
    assert found["contains_value"] is None
    assert summary["metrics"]["contains_value"]["rows"] == 0


def test_refusing_everything_wins_nothing(tmp_path):
    _, summary = scored(tmp_path, triplets(24), lambda number, row: REFUSAL)
    found = figures(summary)
    assert found["exact_match"] == found["contrast_pairs"] == 0
    assert found["token_f1"] < 0.05  # the words "in the" of the refusal stand in some answers
    assert found["over_refusal"] == found["abstention_recall"] == 1
    assert found["faithfulness"] is found["relevance"] is None
    assert found["abstention_f1"] == pytest.approx(summary["baselines"]["always_refuse"]["abstention_f1"], abs=1e-6)


def test_never_refusing_scores_as_its_baseline(tmp_path):
    _, summary = scored(tmp_path, triplets(24), lambda number, row: "It is made of steel.")
    for name, value in summary["baselines"]["never_refuse"].items():
        assert figures(summary)[name] == value


def test_the_file_has_ids_documents_and_a_nullable_double_for_each_metric(tmp_path):
    rows = triplets(10)
    scored(tmp_path, rows, poor)
    with pa.ipc.open_stream(str(tmp_path / "scores/scores.arrow")) as stream:
        table = stream.read_all()
    assert table["id"].to_pylist() == [row.id for row in rows]
    assert table["document"].to_pylist() == [row.document for row in rows]
    numbers = set(METRICS) | {"abstention_f1_weight", "should_abstain", "handled"}
    assert numbers == set(table.column_names) - {"id", "document", "row"}
    assert {table.schema.field(name).type for name in METRICS} == {pa.float64()}
    assert table["over_refusal"].null_count == 10
    assert table["over_refusal"].to_pylist()[1] is None


def test_every_figure_comes_with_its_count_and_interval(tmp_path):
    _, summary = scored(tmp_path, triplets(30), poor)
    assert (summary["rows"], summary["documents"], summary["refusal"]) == (60, 30, REFUSAL)
    recall = summary["metrics"]["abstention_recall"]
    assert (recall["rows"], recall["documents"]) == (30, 30)
    assert recall["low"] <= recall["value"] <= recall["high"]
    assert recall["low"] < recall["high"]


def test_a_rate_of_which_no_row_is_left_in_doubt_has_an_interval_all_the_same(tmp_path):
    """A bootstrap draws nothing but ones from ones; Wilson knows that there are only so many documents."""
    _, summary = scored(tmp_path, triplets(24), right)
    told = summary["metrics"]["abstention_recall"]
    of_all = estimate(np.stack([np.ones(24), np.ones(24)], axis=1))
    assert (told["value"], told["rows"]) == (1, 24)
    assert (told["low"], told["high"]) == (round(of_all.low, 6), 1)
    assert 0.8 < told["low"] < 0.9


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        scored(tmp_path / name, triplets(12), poor)
    for file in ("scores.arrow", "summary.json"):
        assert (tmp_path / "a/scores" / file).read_bytes() == (tmp_path / "b/scores" / file).read_bytes()


def test_the_threshold_moves_the_hallucination_rate_and_nothing_else(tmp_path):
    _, mild = scored(tmp_path / "mild", triplets(12), right, ScoreConfig(hallucination_threshold=0.1))
    _, strict = scored(tmp_path / "strict", triplets(12), right, ScoreConfig(hallucination_threshold=1))
    assert figures(mild)["hallucination"] < figures(strict)["hallucination"]
    assert figures(mild) | {"hallucination": 0} == figures(strict) | {"hallucination": 0}


def test_answers_of_other_rows_are_refused_by_name(tmp_path):
    rows = triplets(3)
    given = write_rows(tmp_path / "rows", rows)
    answers = write_answers(tmp_path / "answers", [rows[0], rows[2], rows[1]], right)
    with pytest.raises(UserError, match="row 2 should answer '0-without', found '1-with'"):
        score(CONFIG, rows=given, answers=answers, out=tmp_path)


@pytest.mark.parametrize(("count", "message"), [(5, "found nothing"), (7, "does not hold")])
def test_too_few_or_too_many_answers_are_refused(tmp_path, count, message):
    rows = triplets(4)
    given = write_rows(tmp_path / "rows", rows[:6])
    answers = write_answers(tmp_path / "answers", rows[:count], right)
    with pytest.raises(UserError, match=message):
        score(CONFIG, rows=given, answers=answers, out=tmp_path)


def test_no_rows_at_all_is_said(tmp_path):
    given, answers = write_rows(tmp_path / "rows", []), write_answers(tmp_path / "answers", [], right)
    with pytest.raises(UserError, match="no rows to score"):
        score(CONFIG, rows=given, answers=answers, out=tmp_path)


def test_rows_without_any_refusal_leave_abstention_unscored(tmp_path):
    _, summary = scored(tmp_path, [row for row in triplets(8) if not row.refusal], right)
    assert summary["refusal"] is None
    assert figures(summary)["abstention_recall"] is None
    assert figures(summary)["over_refusal"] == 0


ROWS = triplets(12)
EDITED = ROWS[4]._replace(context=(*ROWS[4].context, "It weighs 4 kg."))
CHANGES = {
    "nothing": (ROWS, 0),
    "rows appended": (triplets(14), 4),
    "a row in front": ([triplets(13)[-1], *ROWS], 1),
    "rows deleted": (ROWS[2:9], 0),
    "reordered": (ROWS[::-1], 0),
    "ids and documents edited": ([row._replace(id=f"{row.id}!", document="One") for row in ROWS], 0),
    "a context edited": ([*ROWS[:4], EDITED, *ROWS[5:]], 1),
    "a right answer edited": ([*ROWS[:4], ROWS[4]._replace(answer="It is made of tin."), *ROWS[5:]], 1),
    "a value given": ([ROWS[0]._replace(value="tin"), *ROWS[1:]], 1),
    "another refusal": ([row._replace(answer="Unknown.") if row.refusal else row for row in ROWS], 24),
}


def says(number: int, row: Triplet) -> str:
    """An answer that depends on the question alone, good or poor."""
    return poor(sum(row.query.encode()), row)


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """The questions of the rows that metrics look at."""
    seen = []
    exact = METRICS["exact_match"]

    def measure(row):
        seen.append(row.query)
        return exact.measure(row)

    monkeypatch.setitem(METRICS, "exact_match", replace(exact, measure=measure))
    return seen


@pytest.mark.parametrize("change", CHANGES)
def test_only_new_rows_are_measured_and_every_figure_is_as_from_scratch(tmp_path, measured, change):
    changed, new = CHANGES[change]
    scored(tmp_path / "before", ROWS, says)
    scored(tmp_path / "scratch", changed, says)
    measured.clear()
    out = tmp_path / "after"
    out.mkdir()
    given = {name: tmp_path / "scratch" / name for name in ("rows", "answers")}
    told = score(CONFIG, **given, earlier=[tmp_path / "before/scores"], out=out)
    assert len(measured) == new
    assert told == {"rows_taken_over": len(changed) - new, "rows_measured": new}
    for file in ("scores.arrow", "summary.json"):
        assert (out / file).read_bytes() == (tmp_path / "scratch/scores" / file).read_bytes()


def test_another_answer_to_a_known_row_is_measured(tmp_path, measured):
    scored(tmp_path / "before", ROWS, says)
    scored(tmp_path / "scratch", ROWS, lambda number, row: "It is tin." if number == 3 else says(number, row))
    measured.clear()
    out = tmp_path / "after"
    out.mkdir()
    given = {name: tmp_path / "scratch" / name for name in ("rows", "answers")}
    score(CONFIG, **given, earlier=[tmp_path / "before/scores"], out=out)
    assert measured == [ROWS[3].query]
    assert (out / "scores.arrow").read_bytes() == (tmp_path / "scratch/scores/scores.arrow").read_bytes()
